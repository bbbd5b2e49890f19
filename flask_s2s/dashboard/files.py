"""Tables as files that a browser saves.

Each is whole before its first byte goes: who reads it has all of it, or a page that says why there is none.
Written while it is sent, it could end anywhere, and would pass for a whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from flask import Response

from ..operations import sheets


def answer(
    name: str,
    head: Sequence[str],
    rows: Iterable[list[Any]],
    partner_name: Callable[[str], str] | None,
) -> Response:
    """Return a file, with the partners' names where the host has some."""
    if partner_name is not None:
        place, named = head.index("partner_key"), cache(partner_name)
        head = (*head, "partner_name")
        rows = ([*row, row[place] and named(row[place])] for row in rows)
    made = Response("".join(sheets.lines(head, rows)), mimetype="text/csv")
    made.headers["Content-Disposition"] = f"attachment; filename={name}"
    return made
