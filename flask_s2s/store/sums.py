"""The sums of reports and pages: deliveries and clicks of a period, grouped and counted.

Each is answered by a covering index, and each answer is a value. What is counted is counted anew:
there is no second truth beside the rows. Times are UTC; the days of a period are the caller's. Partners
that are too good to be true are asked about too: how fast their customers came, and how many by one click.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    case,
    distinct,
    func,
    or_,
    select,
    type_coerce,
)

from ..conversion import Signup, Transaction
from ..rules.states import ALARMING, CREDITED, Status
from .database.storage import Storage
from .dialects.limits import within
from .dialects.statements import microseconds
from .outbox.ledger import Worded, cause_of
from .schema import Tables

#: What failures are grouped by.
_SPLIT = ("status", "kind", "detail", "cause")
#: How many rows are read at once, where each is looked into.
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Deliveries that are alike in all that is named: their number, and their sum."""

    day: datetime
    kind: str
    status: str
    reason: str
    currency: str | None
    number: int
    #: How many of them have an amount above zero.
    payments: int
    #: Minor units: of what is positive, and of what is negative.
    paid: int
    refunded: int

    @property
    def confirmed(self) -> bool:
        """Whether the network's own record has them."""
        return self.status == Status.CONFIRMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The same by partner, or by one partner's sub ID; None is what has none."""

    name: str | None
    kind: str
    #: Whether the network's own record has them.
    confirmed: bool
    currency: str | None
    number: int
    payments: int
    paid: int
    refunded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Deliveries that failed alike: in one status, of one kind, with the same last word."""

    status: str
    kind: str
    detail: str | None
    #: Why their last words are alike, which name another delivery each; None: `detail` is their word.
    cause: str | None
    number: int
    #: Of how many nobody has said that they know.
    unknown: int
    customers: int
    first: datetime
    last: datetime
    #: currency -> the sum of their amounts.
    amounts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """Days of one length that follow each other: the database counts them by a division."""

    days: Sequence[datetime]
    until: datetime

    def by_day(
        self,
        connection: Connection,
        at: ColumnElement[Any],
        split: Sequence[ColumnElement[Any]],
        sums: Sequence[ColumnElement[Any]],
        these: Sequence[ColumnElement[bool]] = (),
    ) -> Iterator[tuple[datetime, Any]]:
        """Yield each day with a row of the sums, split further."""
        first, last = microseconds(self.days[0]), microseconds(self.until)
        length = (last - first) // len(self.days)
        after = type_coerce(at, BigInteger) - first
        start = (after - after % length).label("start")
        found = select(start, *split, *sums).where(*_within(at, self.days[0], self.until), *these)
        for row in connection.execute(found.group_by(start, *split)):
            yield self.days[int(row.start) // length], row


@dataclass(frozen=True, slots=True)
class Days:
    """The days of a period, by their first moments: in a zone whose clocks change some are longer."""

    starts: Sequence[datetime]
    until: datetime

    def runs(self) -> Iterator[Run]:
        """Return the runs of days of one length: one, where no clock changes."""
        edges = [microseconds(one) for one in (*self.starts, self.until)]
        begun = 0
        for place in range(1, len(self.starts) + 1):
            length = edges[place] - edges[place - 1]
            if place < len(self.starts) and edges[place + 1] - edges[place] == length:
                continue
            until = self.starts[place] if place < len(self.starts) else self.until
            yield Run(self.starts[begun:place], until)
            begun = place


class Sums:
    """The sums, of one database."""

    def __init__(self, storage: Storage, seconds: float | None = None) -> None:
        """`TooSlow` where a sum takes more than so many seconds."""
        self._engine = within(seconds, storage.engine)
        self._rows = storage.tables.delivery
        self._clicks = storage.tables.click

    def counts(self, days: Days) -> list[Count]:
        """Count the deliveries recorded on some days, by all that a report splits them by."""
        rows = self._rows
        with self._engine().connect() as connection:
            return [
                Count(
                    day=day,
                    kind=row.kind,
                    status=row.status,
                    reason=row.reason,
                    currency=row.currency,
                    **_amounts(row),
                )
                for run in days.runs()
                for day, row in run.by_day(
                    connection,
                    rows.c.created_at,
                    (rows.c.kind, rows.c.status, rows.c.reason, rows.c.currency),
                    _sums(rows),
                )
            ]

    def partners(self, since: datetime, until: datetime, partner: str | None = None) -> list[Share]:
        """Count what is credited in a period, by partner; of one alone, or of all."""
        its = _its(self._rows, partner)
        return self._shares(self._rows.c.partner_key, since, until, *its)

    def partner_keys(self, since: datetime, until: datetime, limit: int) -> list[str]:
        """Return the partners who brought most in a period."""
        rows = self._rows
        found = (
            select(rows.c.partner_key)
            .where(*_within(rows.c.created_at, since, until), rows.c.partner_key.is_not(None))
            .group_by(rows.c.partner_key)
            .order_by(func.count().desc(), rows.c.partner_key)
            .limit(limit)
        )
        with self._engine().connect() as connection:
            return list(connection.scalars(found))

    def sub_ids(self, partner: str | None, since: datetime, until: datetime) -> list[Share]:
        """Count what is credited to one partner in a period, by the first sub ID."""
        rows = self._rows
        return self._shares(rows.c.sub_id, since, until, rows.c.partner_key == partner)

    def _shares(
        self, by: ColumnElement[Any], since: datetime, until: datetime, *only: ColumnElement[bool]
    ) -> list[Share]:
        rows = self._rows
        confirmed = case((rows.c.status == Status.CONFIRMED.value, 1), else_=0).label("on_record")
        split = (by.label("name"), rows.c.kind, confirmed, rows.c.currency)
        credited = rows.c.status.in_(CREDITED)
        period = _within(rows.c.created_at, since, until)
        found = select(*split, *_sums(rows)).where(*period, credited, *only).group_by(*split)
        with self._engine().connect() as connection:
            return [
                Share(
                    name=row.name,
                    kind=row.kind,
                    confirmed=bool(row.on_record),
                    currency=row.currency,
                    **_amounts(row),
                )
                for row in connection.execute(found)
            ]

    def daily(
        self, days: Days, only: Sequence[str] | None = None
    ) -> dict[tuple[str | None, datetime], int]:
        """Count credited sign-ups by partner and day; of some alone, or of all."""
        rows = self._rows
        these = (
            rows.c.kind == Signup.kind,
            rows.c.status.in_(CREDITED),
            *([] if only is None else [rows.c.partner_key.in_(only)]),
        )
        number = (func.count().label("number"),)
        with self._engine().connect() as connection:
            return {
                (row.partner_key, day): row.number
                for run in days.runs()
                for day, row in run.by_day(
                    connection, rows.c.created_at, (rows.c.partner_key,), number, these
                )
            }

    def clicks(
        self, since: datetime, until: datetime, partner: str | None = None
    ) -> dict[str | None, int]:
        """Count the click IDs that landed in a period, by partner; of one alone, or of all."""
        clicks = self._clicks
        found = select(clicks.c.partner_key, func.count()).where(
            *_within(clicks.c.at, since, until), *_its(clicks, partner)
        )
        with self._engine().connect() as connection:
            return _pairs(connection.execute(found.group_by(clicks.c.partner_key)))

    def clicks_by_day(self, days: Days) -> dict[datetime, int]:
        """Count the click IDs that landed, by day."""
        number = (func.count().label("number"),)
        with self._engine().connect() as connection:
            return {
                day: row.number
                for run in days.runs()
                for day, row in run.by_day(connection, self._clicks.c.at, (), number)
            }

    def clicks_by_sub_id(
        self, partner: str | None, since: datetime, until: datetime, place: int = 0
    ) -> dict[str | None, int]:
        """Count one partner's clicks of a period by their sub ID in one place."""
        clicks = self._clicks
        found = select(clicks.c.sub_ids).where(
            *_within(clicks.c.at, since, until), clicks.c.partner_key == partner
        )
        with self._engine().connect() as connection:
            listed = connection.execution_options(yield_per=_AT_ONCE).scalars(found)
            return Counter(_in_place(sub_ids, place) for sub_ids in listed)

    def signups_by_sub_id(
        self, partner: str | None, since: datetime, until: datetime, place: int
    ) -> list[Share]:
        """Count one partner's credited sign-ups of a period by their click's sub ID in one place.

        Only the first has a column, because only by that rows of money add up.
        """
        rows = self._rows
        theirs = (rows.c.partner_key == partner, rows.c.kind == Signup.kind)
        found = select(rows.c.click, rows.c.status).where(
            *_within(rows.c.created_at, since, until), *theirs, rows.c.status.in_(CREDITED)
        )
        with self._engine().connect() as connection:
            listed = connection.execution_options(yield_per=_AT_ONCE).execute(found)
            counted = Counter(
                (_in_place((click or {}).get("sub_ids"), place), status == Status.CONFIRMED.value)
                for click, status in listed
            )
        none = dict.fromkeys(("payments", "paid", "refunded"), 0)
        return [
            Share(name=name, kind=Signup.kind, confirmed=on_record, currency=None, number=n, **none)
            for (name, on_record), n in counted.items()
        ]

    def paying(
        self, since: datetime, until: datetime, partner: str | None = None
    ) -> dict[str | None, int]:
        """Count the credited customers who paid in a period, by partner; of one alone, or of all."""
        its = _its(self._rows, partner)
        return self._paying(self._rows.c.partner_key, since, until, *its)

    def paying_by_sub_id(
        self, partner: str | None, since: datetime, until: datetime
    ) -> dict[str | None, int]:
        """Count one partner's customers who paid in a period, by sub ID."""
        rows = self._rows
        return self._paying(rows.c.sub_id, since, until, rows.c.partner_key == partner)

    def _paying(
        self, by: ColumnElement[Any], since: datetime, until: datetime, *only: ColumnElement[bool]
    ) -> dict[str | None, int]:
        rows = self._rows
        credited = rows.c.status.in_(CREDITED)
        paid = (rows.c.kind == Transaction.kind, rows.c.amount > 0, credited)
        period = _within(rows.c.created_at, since, until)
        # Each customer once, then their number: no sorting, as count(distinct) does.
        each = select(by.label("name"), rows.c.customer_key).where(*period, *paid, *only)
        customer = each.group_by(by, rows.c.customer_key).subquery()
        found = select(customer.c.name, func.count(customer.c.customer_key))
        with self._engine().connect() as connection:
            return _pairs(connection.execute(found.group_by(customer.c.name)))

    def causes(
        self, since: datetime, until: datetime, alike: Mapping[str, Sequence[Worded]]
    ) -> list[Cause]:
        """Group what was given up on by its last word, most customers first.

        `alike` are the causes by whose words there would be a group for each delivery.
        """
        rows = self._rows
        unknown = or_(rows.c.acked_at.is_(None), rows.c.acked_at < rows.c.settled_at)
        failed = (
            select(rows, cause_of(rows, alike).label("cause"), unknown.label("unknown"))
            .where(rows.c.status.in_(ALARMING), *_within(rows.c.created_at, since, until))
            .subquery()
        )
        word = case((failed.c.cause.is_(None), failed.c.detail)).label("detail")
        split = (failed.c.status, failed.c.kind, word, failed.c.cause)
        found = select(
            *split,
            func.count().label("number"),
            func.sum(case((failed.c.unknown, 1), else_=0)).label("unknown"),
            func.count(distinct(failed.c.customer_key)).label("customers"),
            func.min(failed.c.created_at).label("first"),
            func.max(failed.c.created_at).label("last"),
        ).group_by(*split)
        amount = func.sum(failed.c.amount).label("amount")
        money = select(*split, failed.c.currency, amount).where(failed.c.amount.is_not(None))
        with self._engine().connect() as connection:
            amounts: dict[Any, dict[str, int]] = {}
            for *one, currency, total in connection.execute(
                money.group_by(*split, failed.c.currency)
            ):
                amounts.setdefault(tuple(one), {})[currency] = int(total)
            causes = [
                Cause(
                    **{**row, "unknown": int(row["unknown"])},
                    amounts=amounts.get(tuple(row[name] for name in _SPLIT), {}),
                )
                for row in connection.execute(found).mappings()
            ]
        return sorted(causes, key=lambda cause: (-cause.customers, -cause.number))


def _in_place(sub_ids: Sequence[str] | None, place: int) -> str | None:
    return sub_ids[place] if sub_ids and len(sub_ids) > place else None


def _within(
    column: ColumnElement[Any], since: datetime, until: datetime
) -> list[ColumnElement[bool]]:
    return [column >= since, column < until]


def _its(rows: Any, partner: str | None) -> list[ColumnElement[bool]]:
    return [] if partner is None else [rows.c.partner_key == partner]


def _sums(rows: Any) -> tuple[ColumnElement[Any], ...]:
    amount = rows.c.amount
    return (
        func.count().label("number"),
        func.count(case((amount > 0, 1))).label("payments"),
        func.sum(case((amount > 0, amount))).label("paid"),
        func.sum(case((amount < 0, amount))).label("refunded"),
    )


def _amounts(row: Any) -> dict[str, int]:
    names = ("number", "payments", "paid", "refunded")
    # There is no sum of nothing.
    return {name: int(getattr(row, name) or 0) for name in names}


def _pairs(found: Iterable[Any]) -> dict[Any, int]:
    return {name: number for name, number in found}


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
