"""Tables as files that a browser saves, written as they are sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flask import Response, stream_with_context

from ..operations import sheets


def answer(name: str, head: Iterable[str], rows: Iterable[list[Any]]) -> Response:
    """Return a file that is written as it is sent."""

    def lines() -> Iterator[str]:
        return sheets.lines(head, rows)

    made = Response(stream_with_context(lines()), mimetype="text/csv")
    made.headers["Content-Disposition"] = f"attachment; filename={name}"
    return made
