"""Lists as files for a spreadsheet: stable English columns, formulas made harmless."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flask import Response, stream_with_context
from sqlalchemy import Row

from ..operations import sheets
from ..operations.causes import why
from ..operations.words import GROUP_OF

CONVERSIONS = (
    *("id", "kind", "status", "state", "reason", "cause", "customer_key", "partner_key"),
    *("sub_id", "key", "amount_minor", "currency", "created_at", "settled_at", "detail"),
)
#: What a row of it is made of.
COLUMNS = (
    *("id", "kind", "status", "reason", "customer_key", "partner_key", "sub_id", "key"),
    *("amount", "currency", "created_at", "settled_at", "detail"),
)


def conversion_row(row: Row[Any]) -> list[Any]:
    """Return a conversion's row, of the columns above."""
    number, kind, status, reason, *theirs, created_at, settled_at, detail = tuple(row)
    cause = why(status, detail)
    return [
        *(number, kind, status, GROUP_OF[status].value, reason),
        None if cause is None else cause.value,
        *theirs,
        created_at.isoformat(),
        settled_at.isoformat() if settled_at else None,
        detail,
    ]


def answer(name: str, head: Iterable[str], rows: Iterable[list[Any]]) -> Response:
    """Return a file that is written as it is sent."""

    def lines() -> Iterator[str]:
        return sheets.lines(head, rows)

    made = Response(stream_with_context(lines()), mimetype="text/csv")
    made.headers["Content-Disposition"] = f"attachment; filename={name}"
    return made
