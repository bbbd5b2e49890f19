"""The questions of lists and pages: pages by keyset, exact look-ups, and counts of what a list shows.

Each question is answered by an index, and each answer is a value. Times are UTC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    distinct,
    func,
    or_,
    select,
    union_all,
)

from ..conversion import Action, Reversal, Signup, Transaction
from ..rules.delivery import Delivery
from ..rules.states import OPEN, TROUBLED
from .database.storage import Storage
from .dialects.limits import within
from .dialects.servers import whole
from .dialects.statements import reading_by
from .outbox.ledger import Attempt, Worded, attempt_of, cause_of
from .outbox.outbox import Outbox
from .outbox.rows import delivery_of
from .schema import REPORT_INDEX

#: How many deliveries a text names at most.
_NAMED = 50
T = TypeVar("T")
#: How many hashes or numbers one statement asks for.
_AT_ONCE = 500
#: What a list can be counted by: its name, and its column.
_COLUMNS = {"error": "detail", "partner": "partner_key", "reason": "reason"}
GROUPS = tuple(_COLUMNS)
#: Filters that have an index of their own, and those that no index has.
_INDEXED = ("kinds", "statuses", "partner", "reason", "customer", "detail", "key")
_UNINDEXED = ("network", "lane", "sub_id")
_WITH_KEYS = (Transaction.kind, Action.kind, Reversal.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The filter of a list: a delivery meets all that is set."""

    since: datetime | None = None
    until: datetime | None = None
    kinds: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    partner: str | None = None
    reason: str | None = None
    customer: str | None = None
    sub_id: str | None = None
    detail: str | None = None
    #: The site's own key.
    key: str | None = None
    network: str | None = None
    lane: str | None = None
    currency: str | None = None
    #: Minor units: at least, and at most.
    least: int | None = None
    most: int | None = None
    #: One of these fits, where there are any.
    worded: tuple[Worded, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """A count of deliveries of one status that are alike; `name` None: of those that have none."""

    name: str | None
    #: Why their last words are alike, which name another delivery each; None: `name` is their word.
    cause: str | None
    status: str
    number: int
    customers: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One delivery with its tries, and what it belongs to."""

    delivery: Delivery
    attempts: list[Attempt]
    parent: Delivery | None = None
    dependents: list[Delivery] = field(default_factory=list)


class Queries:
    """The questions, of one database."""

    def __init__(
        self,
        storage: Storage,
        outbox: Outbox,
        seconds: float | None = None,
    ) -> None:
        """`outbox` has the hashes of conversions and people. `TooSlow` where an answer takes so many seconds."""
        self._engine = within(seconds, storage.engine)
        self._rows = storage.tables.delivery
        self._attempts = storage.tables.attempt
        self._hashed, self._person = outbox.hashed, outbox.person

    # -- lists --------------------------------------------------------------------------------

    def page(
        self, wanted: Wanted, limit: int, before: tuple[datetime, int] | None = None
    ) -> list[Delivery]:
        """Return deliveries, newest first; `before` is the time and number of the last one seen."""
        with self._engine().connect() as connection:
            found = self._newest((self._rows,), wanted, limit, before)
            return [delivery_of(row) for row in connection.execute(found).mappings()]

    def exported(
        self,
        columns: Sequence[str],
        wanted: Wanted,
        limit: int,
        before: tuple[datetime, int] | None = None,
    ) -> Sequence[Row[Any]]:
        """Return some columns of the same, as they are stored: no delivery is made of a row."""
        named = [self._rows.c[name] for name in columns]
        with self._engine().connect() as connection:
            return connection.execute(self._newest(named, wanted, limit, before)).all()

    def _newest(
        self,
        what: Sequence[Any],
        wanted: Wanted,
        limit: int,
        before: tuple[datetime, int] | None,
    ) -> Select[Any]:
        # Each status by the index in whose order it lies: a list of several is merged from them.
        each = [replace(wanted, statuses=(one,)) for one in wanted.statuses] or [wanted]
        newest = [self._newest_of_one(what, one, limit, before) for one in each]
        if len(newest) == 1:
            return newest[0]
        merged = union_all(*(select(one.subquery()) for one in newest)).subquery()
        order = (merged.c.created_at.desc(), merged.c.id.desc())
        return select(merged).order_by(*order).limit(limit)

    def _newest_of_one(
        self,
        what: Sequence[Any],
        wanted: Wanted,
        limit: int,
        before: tuple[datetime, int] | None,
    ) -> Select[Any]:
        rows = self._rows
        found = self._narrowed(select(*what), wanted)
        if before is not None:
            at, number = before
            earlier = and_(rows.c.created_at == at, rows.c.id < number)
            found = found.where(rows.c.created_at <= at, or_(rows.c.created_at < at, earlier))
        return found.order_by(rows.c.created_at.desc(), rows.c.id.desc()).limit(limit)

    def by_status(self, wanted: Wanted) -> dict[str, int]:
        """Count what a list would show, by status."""
        rows = self._rows
        found = self._narrowed(select(rows.c.status, func.count()), wanted)
        with self._engine().connect() as connection:
            return _pairs(connection.execute(found.group_by(rows.c.status)))

    def grouped(
        self, wanted: Wanted, by: str, alike: Mapping[str, Sequence[Worded]] = {}
    ) -> list[Grouped]:
        """Count what a list would show by `by` and status, the most first.

        By last word, `alike` are the causes by whose words there would be a group for each delivery.
        """
        rows = self._rows
        conditions = list(self._matching(wanted))
        if by == "error" and not wanted.statuses:
            conditions.append(rows.c.status.in_(TROUBLED))
        cause = cause_of(rows, alike).label("cause")
        named = rows.c[_COLUMNS[by]].label("name")
        of_each = (rows.c.status, rows.c.customer_key, rows.c.created_at)
        these = select(named, cause, *of_each).where(*conditions).subquery()
        name = case((these.c.cause.is_(None), these.c.name)).label("name")
        found = select(
            name,
            these.c.cause,
            these.c.status,
            func.count().label("number"),
            func.count(distinct(these.c.customer_key)).label("customers"),
            func.min(these.c.created_at).label("first"),
            func.max(these.c.created_at).label("last"),
        ).group_by(name, these.c.cause, these.c.status)
        with self._engine().connect() as connection:
            groups = [Grouped(**row) for row in connection.execute(found).mappings()]
        return sorted(groups, key=lambda one: (-one.number, one.name or "", one.status))

    def find(self, text: str) -> list[Delivery]:
        """Return the deliveries that a text names exactly, newest first.

        It is tried as a number, a customer's key, a conversion's key, a click ID, and as the e-mail
        address of a sign-up.
        """
        rows, text = self._rows, text.strip().replace("\0", "\ufffd")
        named: list[ColumnElement[bool]] = [
            rows.c.customer_key == text,
            rows.c.click_id == text,
        ]
        if text.isascii() and text.isdigit() and len(text) < 18:
            named.append(rows.c.id == int(text))
        with self._engine().connect() as connection:
            signup = self._hashed(connection, (Signup.kind, text))
            named.append(rows.c.dedupe.in_([signup, *self._keyed(connection, text)]))
            if (person := self._person(connection, text)) is not None:
                named.append(rows.c.person == person)
            found: dict[int, Delivery] = {}
            for one in named:
                newest = select(rows).where(one).order_by(rows.c.id.desc()).limit(_NAMED)
                for row in connection.execute(newest).mappings():
                    found[row["id"]] = delivery_of(row)
        return sorted(found.values(), key=lambda one: one.id, reverse=True)[:_NAMED]

    def by_dedupe(self, network: str, hashes: Sequence[str]) -> dict[str, Delivery]:
        """Return the deliveries that these hashes are of."""
        rows, found = self._rows, {}
        with self._engine().connect() as connection:
            for some in _batches(hashes):
                these = select(rows).where(rows.c.network == network, rows.c.dedupe.in_(some))
                for row in connection.execute(these).mappings():
                    found[row["dedupe"]] = delivery_of(row)
        return found

    def statuses_of(self, ids: Sequence[int]) -> dict[str, int]:
        """Count deliveries, named by their numbers, by status."""
        rows, counted = self._rows, Counter[str]()
        with self._engine().connect() as connection:
            for some in _batches(ids):
                found = select(rows.c.status, func.count()).where(rows.c.id.in_(some))
                counted.update(_pairs(connection.execute(found.group_by(rows.c.status))))
        return counted

    def among(self, ids: Sequence[int], statuses: Sequence[str], limit: int) -> list[Delivery]:
        """Return those of some deliveries that are in one of these statuses, newest first."""
        rows, listed = self._rows, list[Delivery]()
        with self._engine().connect() as connection:
            for some in _batches(sorted(ids, reverse=True)):
                these = (rows.c.id.in_(some), rows.c.status.in_(statuses))
                found = select(rows).where(*these).order_by(rows.c.id.desc()).limit(limit)
                listed += [delivery_of(row) for row in connection.execute(found).mappings()]
        return listed[:limit]

    def story(self, delivery_id: int) -> Story | None:
        """Return one delivery with its tries, what it waits for and what waits for it."""
        rows, attempts = self._rows, self._attempts
        tried = select(attempts).where(attempts.c.delivery_id == delivery_id)
        with self._engine().connect() as connection:
            row = (
                connection.execute(select(rows).where(rows.c.id == delivery_id)).mappings().first()
            )
            if row is None:
                return None
            same = rows.c.network == row["network"]
            parent = select(rows).where(same, rows.c.dedupe == row["parent"])
            theirs = select(rows).where(same, rows.c.parent == row["dedupe"])
            above = None
            if row["parent"] is not None:
                above = connection.execute(parent).mappings().first()
            below = connection.execute(theirs.order_by(rows.c.id).limit(50)).mappings().all()
            listed = connection.execute(tried.order_by(attempts.c.number.desc())).mappings()
            return Story(
                delivery=delivery_of(row),
                attempts=[attempt_of(one) for one in listed],
                parent=None if above is None else delivery_of(above),
                dependents=[delivery_of(one) for one in below],
            )

    def open_by_status(self) -> dict[str, int]:
        """Count what has work left, by status: of the rows that do, however many are settled."""
        rows = self._rows
        found = select(rows.c.status, func.count()).where(rows.c.status.in_(OPEN))
        with whole(self._engine()) as connection:
            return _pairs(connection.execute(found.group_by(rows.c.status)))

    # -----------------------------------------------------------------------------------------

    def _narrowed(self, found: Select[Any], wanted: Wanted) -> Select[Any]:
        """Narrow a statement: to the rows of its time, where no other index has what is asked for."""
        found = found.where(*self._matching(wanted))
        by_time = wanted.since is not None and any(getattr(wanted, one) for one in _UNINDEXED)
        if by_time and not any(getattr(wanted, one) for one in _INDEXED):
            return reading_by(found, self._rows, REPORT_INDEX)
        return found

    def _matching(self, wanted: Wanted) -> Sequence[ColumnElement[bool]]:
        """Return what a delivery that is wanted meets."""
        rows = self._rows
        found: list[ColumnElement[bool]] = []
        if wanted.since is not None:
            found.append(rows.c.created_at >= wanted.since)
        if wanted.until is not None:
            found.append(rows.c.created_at < wanted.until)
        for column, values in ((rows.c.kind, wanted.kinds), (rows.c.status, wanted.statuses)):
            if values:
                found.append(column.in_(values))
        for column, value in (
            (rows.c.partner_key, wanted.partner),
            (rows.c.reason, wanted.reason),
            (rows.c.customer_key, wanted.customer),
            (rows.c.sub_id, wanted.sub_id),
            (rows.c.detail, wanted.detail),
            (rows.c.network, wanted.network),
            (rows.c.lane, wanted.lane),
            (rows.c.currency, wanted.currency),
        ):
            if value == "":
                found.append(or_(column.is_(None), column == ""))
            elif value is not None:
                found.append(column == value)
        if wanted.least is not None:
            found.append(rows.c.amount >= wanted.least)
        if wanted.most is not None:
            found.append(rows.c.amount <= wanted.most)
        if wanted.worded:
            found.append(or_(*(one.met_by(rows) for one in wanted.worded)))
        if wanted.key is not None:
            with self._engine().connect() as connection:
                found.append(rows.c.dedupe.in_(self._keyed(connection, wanted.key)))
        return found

    def _keyed(self, connection: Connection, key: str) -> list[str]:
        """Return what the conversions with a key of the site's own are known by."""
        return [self._hashed(connection, (kind, key)) for kind in _WITH_KEYS]


def _batches(named: Sequence[T]) -> Iterator[Sequence[T]]:
    """Return as many as one statement asks for, and then the next."""
    for start in range(0, len(named), _AT_ONCE):
        yield named[start : start + _AT_ONCE]


def _pairs(found: Iterable[Any]) -> dict[Any, int]:
    return {name: number for name, number in found}
