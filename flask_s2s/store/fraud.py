"""How customers came by their clicks: what is asked about partners that are too good to be true."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Engine, case, distinct, func, select, type_coerce

from ..conversion import Signup
from .schema import Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Haste:
    """How long a partner's customers took from the click to the sign-up."""

    partner: str | None
    signups: int
    #: How many signed up almost at once.
    at_once: int
    #: Half of them took so long at most: one who came back after weeks does not hide the others.
    median: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedClick:
    """A click that several customers signed up by."""

    network: str
    click_id: str
    partner: str | None
    customers: int


def haste(
    engine: Engine, tables: Tables, since: datetime, until: datetime, at_once: timedelta
) -> list[Haste]:
    """Say by partner how long customers took from the click to the sign-up, most sign-ups first."""
    rows = tables.delivery
    took = type_coerce(rows.c.created_at, BigInteger) - type_coerce(rows.c.click_at, BigInteger)
    fast = at_once // timedelta(microseconds=1)
    within: dict[str, Any] = {"partition_by": rows.c.partner_key}
    ranked = (
        select(
            rows.c.partner_key,
            took.label("took"),
            func.row_number().over(order_by=took, **within).label("place"),
            func.count().over(**within).label("number"),
        )
        .where(*_signups(tables, since, until), rows.c.click_at.is_not(None))
        .subquery()
        .c
    )
    # The one in the middle, or the two.
    middle = (ranked.place * 2).between(ranked.number, ranked.number + 2)
    number = func.count()
    found = select(
        ranked.partner_key,
        number.label("signups"),
        func.sum(case((ranked.took < fast, 1), else_=0)).label("at_once"),
        func.avg(case((middle, ranked.took))).label("median"),
    )
    most = found.group_by(ranked.partner_key).order_by(number.desc(), ranked.partner_key)
    with engine.connect() as connection:
        return [
            Haste(
                partner=row.partner_key,
                signups=row.signups,
                at_once=int(row.at_once),
                median=timedelta(microseconds=int(row.median)),
            )
            for row in connection.execute(most)
        ]


def shared_clicks(
    engine: Engine, tables: Tables, since: datetime, until: datetime, limit: int
) -> list[SharedClick]:
    """Return the clicks that several customers of a period signed up by, the most first."""
    rows = tables.delivery
    # Those with more than one row, by the index alone: few, and only their rows are read.
    again = tables.delivery.alias("again")
    at = again.c.created_at
    several_rows = (
        select(again.c.click_id)
        .where(again.c.click_id.is_not(None), at >= since, at < until)
        .group_by(again.c.click_id)
        .having(func.count() > 1)
    )
    customers = func.count(distinct(rows.c.customer_key))
    split = (rows.c.network, rows.c.click_id, rows.c.partner_key.label("partner"))
    found = select(*split, customers.label("customers")).where(
        *_signups(tables, since, until), rows.c.click_id.in_(several_rows)
    )
    several = found.group_by(rows.c.network, rows.c.click_id, rows.c.partner_key)
    most = several.having(customers > 1).order_by(customers.desc(), rows.c.click_id)
    with engine.connect() as connection:
        return [SharedClick(**row) for row in connection.execute(most.limit(limit)).mappings()]


def _signups(tables: Tables, since: datetime, until: datetime) -> list[ColumnElement[bool]]:
    rows = tables.delivery
    at = rows.c.created_at
    return [at >= since, at < until, rows.c.kind == Signup.kind]
