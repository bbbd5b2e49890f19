"""Tables for a spreadsheet: stable English columns, and no text that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from ..store.queries import Queries, Wanted
from .causes import why
from .reconcile import Difference
from .report import Line
from .words import GROUP_OF

#: How a line of a report is named, by what the report is split by.
NAMES = {"partner": ("partner_key",), "sub-id": ("partner_key", "sub_id"), "day": ("day",)}
_NUMBERS = ("clicks", "signups", "confirmed")
_MONEY = ("currency", "paid_minor", "refunded_minor", "net_minor")

#: A formula begins where a cell does: with the text, behind a semicolon, which parts cells in some
#: countries, and behind a tab or a line's end, where a text is pasted. An opening quote is no part of
#: a cell. Some letters are of full width in Asia.
_FORMULA = re.compile(r"(\A|[;\t\r\n])(?=[\s\"]*[=+@\-\uff1d\uff0b\uff20\uff0d])")


def report_head(by: str) -> tuple[str, ...]:
    """Return the columns of a report. Customers who pay do not add up over days."""
    paying = () if by == "day" else ("paying_customers",)
    return (*NAMES[by], *_NUMBERS, *paying, *_MONEY)


def names(line: Line, by: str) -> dict[str, str | None]:
    """Return how a line of a report is named."""
    own = (line.partner, line.name) if by == "sub-id" else (line.name,)
    return dict(zip(NAMES[by], own, strict=True))


def report_row(line: Line, by: str, currency: str) -> list[Any]:
    """Return a line of a report, with its money in one currency."""
    return [
        *names(line, by).values(),
        *(line.clicks, line.signups, line.confirmed),
        *(() if by == "day" else (line.paying,)),
        *(currency, line.paid(currency), line.refunded(currency), line.net(currency)),
    ]


CONVERSIONS = (
    *("id", "kind", "status", "state", "reason", "cause", "customer_key", "partner_key"),
    *("sub_id", "key", "amount_minor", "currency", "created_at", "settled_at", "detail"),
)
#: What a row of it is made of.
_COLUMNS = (
    *("id", "kind", "status", "reason", "customer_key", "partner_key", "sub_id", "key"),
    *("amount", "currency", "created_at", "settled_at", "detail"),
)
_AT_ONCE = 1000


def conversions(
    queries: Queries,
    wanted: Wanted,
    most: int | None,
    before: tuple[datetime, int] | None = None,
) -> Iterator[list[Any]]:
    """Yield the rows of what a list has, newest first: all, or so many at most."""
    left = most
    while left is None or left > 0:
        asked = _AT_ONCE if left is None else min(_AT_ONCE, left)
        rows = queries.exported(_COLUMNS, wanted, asked, before)
        yield from map(_conversion_row, rows)
        if len(rows) < asked:
            return
        left = None if left is None else left - asked
        before = (rows[-1].created_at, rows[-1].id)


def _conversion_row(row: Row[Any]) -> list[Any]:
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


DIFFERENCES = (
    *("network", "side", "kind", "id", "status", "record_id", "customer_key", "key"),
    *("partner_key", "amount_minor", "currency", "at", "differs_in", "here", "there", "likely"),
)


def difference_row(network: str, one: Difference) -> list[Any]:
    """Return one difference between our records and a network's."""
    return [
        *(network, one.side.value, one.kind, one.delivery_id, one.status, one.record_id),
        *(one.customer_key, one.key, one.partner_key, one.amount, one.currency),
        one.at and one.at.isoformat(),
        ", ".join(one.differs),
        ", ".join(here for here, _ in one.differs.values()),
        ", ".join(there for _, there in one.differs.values()),
        one.likely,
    ]


def lines(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Write a table, a line at a time."""
    yield _line(head)
    for row in rows:
        yield _line(map(cell, row))


def cell(value: Any) -> Any:
    """Return a value as it is written: a text that a spreadsheet would run as a formula is quoted."""
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def _line(values: Iterable[Any]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(["" if value is None else value for value in values])
    return written.getvalue()
