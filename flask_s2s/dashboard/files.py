"""Tables as files that a browser saves, written as they are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any

from flask import Response, stream_with_context

from ..operations import sheets


def answer(
    name: str,
    head: Sequence[str],
    rows: Iterable[list[Any]],
    partner_name: Callable[[str], str] | None,
) -> Response:
    """Return a file that is written as it is sent, with the partners' names where the host has some.

    The first row is there before: what cannot be read is a page that says so, and no file.
    """
    left = iter(rows)
    every = chain(list(islice(left, 1)), left)

    def lines() -> Iterator[str]:
        if partner_name is None:
            return sheets.lines(head, every)
        place, named = head.index("partner_key"), cache(partner_name)
        with_names = ([*row, row[place] and named(row[place])] for row in every)
        return sheets.lines((*head, "partner_name"), with_names)

    made = Response(stream_with_context(lines()), mimetype="text/csv")
    made.headers["Content-Disposition"] = f"attachment; filename={name}"
    return made
