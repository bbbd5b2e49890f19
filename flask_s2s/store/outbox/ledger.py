"""The ledger: questions about deliveries, and changes by an operator's hand. No worker runs its SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    RowMapping,
    and_,
    case,
    exists,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    update,
)

from ...click import Click, dump_click, load_click
from ...rules.attribution import Reason
from ...rules.delivery import Delivery
from ...rules.states import ALARMING, DISCARDABLE, OPEN, RETRIABLE, Status
from ..database.storage import Storage
from ..dialects.statements import has, in_order
from ..row_locks import take_free, update_many
from .dependents import call_dependents, credited_again
from .rows import delivery_of

#: The last word of what was kept back by hand.
DISCARDED = "discarded by hand"
#: How many are discarded in one transaction.
_AT_ONCE = 500

#: What an operator does to many at once.
Act = Literal["retry", "ack", "discard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a delivery. `outcome` None: never closed, so nobody knows."""

    number: int
    opened_at: datetime
    closed_at: datetime | None
    outcome: str | None
    http_status: int | None
    duration_ms: int | None
    #: Method, URL and names of fields of what was sent.
    request: dict[str, Any] | None
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worded:
    """A status, and what stands in the last word of those that are meant."""

    status: str
    #: One of these does; None: whatever the word is.
    has: tuple[str, ...] | None
    #: And none of these.
    lacks: tuple[str, ...]

    def met_by(self, rows: FromClause) -> ColumnElement[bool]:
        """Return what a row meets that is meant."""
        found = [rows.c.status == self.status]
        if self.has is not None:
            found.append(or_(*(has(rows.c.detail, word) for word in self.has)))
        for word in self.lacks:
            found.append(or_(rows.c.detail.is_(None), not_(has(rows.c.detail, word))))
        return and_(*found)


def cause_of(rows: FromClause, alike: Mapping[str, Sequence[Worded]]) -> ColumnElement[Any]:
    """Return the first of some causes that a row's last word is of; NULL: of none."""
    told = [(or_(*(one.met_by(rows) for one in these)), code) for code, these in alike.items()]
    return case(*told) if told else null()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An operator's choice of deliveries: each meets all that is set."""

    delivery_id: int | None = None
    status: str | None = None
    since: datetime | None = None
    network: str | None = None
    kind: str | None = None
    #: Its last word, exactly; empty: it has none.
    detail: str | None = None
    partner: str | None = None
    customer: str | None = None
    until: datetime | None = None
    #: None that was recorded after this one.
    before_id: int | None = None
    #: One of these fits, where there are any.
    worded: tuple[Worded, ...] = ()


class Ledger:
    """The deliveries of one database, for people."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rows = storage.tables.delivery
        self._attempts = storage.tables.attempt

    def find(
        self,
        *,
        status: str | None = None,
        customer: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[Delivery]:
        """Return deliveries, newest first."""
        rows = self._rows
        found = select(rows).order_by(rows.c.id.desc()).limit(limit)
        found = found.where(*self._matching(status=status, customer=customer, since=since))
        with self._storage.connect() as connection:
            return [delivery_of(row) for row in connection.execute(found).mappings()]

    def of_customer(
        self, customer: str, signup: Sequence[str], networks: Iterable[str]
    ) -> list[Delivery]:
        """Return all that a customer has, newest first.

        `signup` is what the sign-up's `dedupe` is, or was sealed as: it finds too what was emptied,
        which names nobody.
        """
        rows = self._rows
        theirs = and_(rows.c.network.in_(networks), rows.c.dedupe.in_(signup))
        emptied = and_(rows.c.customer_key.is_(None), or_(theirs, rows.c.parent.in_(signup)))
        found = select(rows).where(or_(rows.c.customer_key == customer, emptied))
        with self._storage.connect() as connection:
            listed = connection.execute(found.order_by(rows.c.id.desc())).mappings()
            return [delivery_of(row) for row in listed]

    def touches(self, customer: str) -> dict[int, list[Click]]:
        """Return a customer's clicks other than the one that each delivery has, newest first."""
        rows = self._rows
        theirs = (rows.c.customer_key == customer, rows.c.touches.is_not(None))
        kept = select(rows.c.id, rows.c.touches).where(*theirs)
        with self._storage.connect() as connection:
            return {
                row.id: [load_click(touch) for touch in row.touches]
                for row in connection.execute(kept)
            }

    def get(self, delivery_id: int) -> tuple[Delivery, list[Attempt]] | None:
        """Return one delivery and its attempts."""
        attempts = self._attempts
        tried = select(attempts).where(attempts.c.delivery_id == delivery_id)
        with self._storage.connect() as connection:
            row = connection.execute(select(self._rows).where(self._rows.c.id == delivery_id))
            found = row.mappings().first()
            if found is None:
                return None
            listed = connection.execute(tried.order_by(attempts.c.number)).mappings()
            return delivery_of(found), [attempt_of(one) for one in listed]

    def retriable(self, wanted: Wanted) -> dict[tuple[str, str, str], int]:
        """Count what `retry` would send again, by status, kind and network."""
        return self.count("retry", wanted)

    def count(self, act: Act, wanted: Wanted) -> dict[tuple[str, str, str], int]:
        """Count what an act would change, by status, kind and network."""
        rows = self._rows
        sorts = (rows.c.status, rows.c.kind, rows.c.network)
        these = self._open_to(act, wanted)
        counted = select(*sorts, func.count()).where(*these).group_by(*sorts)
        with self._storage.connect() as connection:
            return {(s, k, n): number for s, k, n, number in connection.execute(counted)}

    def first(self, wanted: Wanted, limit: int, act: Act = "retry") -> list[Delivery]:
        """Return the oldest of what an act would change."""
        rows = self._rows
        found = select(rows).where(*self._open_to(act, wanted)).order_by(rows.c.id).limit(limit)
        with self._storage.connect() as connection:
            return [delivery_of(row) for row in connection.execute(found).mappings()]

    def acknowledge(self, wanted: Wanted, now: datetime) -> int:
        """Say of failures that somebody knows of them; return how many."""
        rows = self._rows
        known = update(rows).values(acked_at=now)
        return update_many(self._storage, rows, known, *self._open_to("ack", wanted))

    def discard_all(self, wanted: Wanted, now: datetime) -> int:
        """Keep back for good what nobody is sending; return how many. `retry` still sends it.

        What a host holds at that moment is left out. What waits for one of these learns of it.
        """
        rows, done, after = self._rows, 0, 0
        ended = {"status": Status.WITHDRAWN.value, "due_at": None, "settled_at": now}
        while True:
            these = (*self._open_to("discard", wanted), rows.c.id > after)
            found = select(rows).where(*these).order_by(rows.c.id).limit(_AT_ONCE)
            with self._storage.connect() as connection:
                batch = [delivery_of(row) for row in connection.execute(found).mappings()]
            if not batch:
                return done
            after = batch[-1].id

            def discard(connection: Connection, batch: Sequence[Delivery] = batch) -> int:
                ids, still = [one.id for one in batch], rows.c.status.in_(DISCARDABLE)
                free = take_free(connection, rows, ids, still)
                this = update(rows).where(rows.c.id.in_(free), still)
                number = connection.execute(this.values(**ended, detail=DISCARDED)).rowcount
                call_dependents(connection, rows, [one for one in batch if one.id in free], now)
                return number

            done += self._storage.write(discard)

    def retry(self, wanted: Wanted, now: datetime, give_up: timedelta) -> int:
        """Make deliveries due now, with a deadline of at least `give_up`; return how many.

        Among them what was given up because the network did not know its customer. What a host holds
        at that moment is left out.
        """
        rows = self._rows
        soonest = literal(now + give_up, rows.c.deadline_at.type)
        later = case((rows.c.deadline_at > soonest, rows.c.deadline_at), else_=soonest)
        # What was accepted once is looked for before it is repeated, where a repeat may count.
        accepted = and_(rows.c.status == Status.MISSING.value, rows.c.ambiguous_at.is_(None))
        looked_for = case((accepted, rows.c.settled_at), else_=rows.c.ambiguous_at)
        again = in_order(
            update(rows),
            (rows.c.ambiguous_at, looked_for),
            (rows.c.reason, credited_again(rows)),
            (rows.c.status, Status.PENDING.value),
            (rows.c.due_at, literal(now, rows.c.due_at.type)),
            (rows.c.settled_at, null()),
            (rows.c.acked_at, null()),
            (rows.c.deadline_at, later),
        )
        return update_many(self._storage, rows, again, *self._open_to("retry", wanted))

    # -- what a failed rule has left to somebody --------------------------------------------------

    def under_review(self, customer: str | None = None) -> list[Delivery]:
        """Return the sign-ups whose rule failed, oldest first; of one customer, or all."""
        rows = self._rows
        found = select(rows).where(*_reviewed(rows)).order_by(rows.c.id)
        if customer is not None:
            found = found.where(rows.c.customer_key == customer)
        with self._storage.connect() as connection:
            return [delivery_of(row) for row in connection.execute(found).mappings()]

    def credit(
        self,
        delivery: Delivery,
        click: Click,
        now: datetime,
        give_up: timedelta,
        *,
        dry_run: bool = False,
    ) -> bool:
        """Send a sign-up that is under review; say whether it still was."""
        due = {"status": Status.PENDING.value, "due_at": now, "settled_at": None}
        if dry_run:
            due = {"status": Status.DRY_RUN.value}
        named: dict[str, Any] = {"click": dump_click(click), "click_id": click.click_id}
        named |= {"partner_key": click.partner_key, "click_at": click.at, "detail": None}
        named["sub_id"] = click.sub_ids[0] if click.sub_ids else None
        deadline = max(delivery.deadline_at, now + give_up)
        return self._decide(
            delivery, **due, **named, deadline_at=deadline, reason=Reason.CREDITED.value
        )

    def discard(self, delivery: Delivery, now: datetime) -> bool:
        """Let a sign-up that is under review end, and forget what it would send."""
        emptied = ("conversion", "click", "click_id", "touches", "detail")
        empty = dict.fromkeys((*emptied, "partner_key", "sub_id", "click_at"))
        return self._decide(delivery, **empty, settled_at=now, reason=Reason.DISCARDED.value)

    def _decide(self, delivery: Delivery, **values: Any) -> bool:
        rows = self._rows
        this = update(rows).where(rows.c.id == delivery.id, *_reviewed(rows))
        decided = this.values(**values)
        return self._storage.write(lambda connection: connection.execute(decided).rowcount == 1)

    def _matching(
        self, *, status: str | None, customer: str | None, since: datetime | None
    ) -> Sequence[ColumnElement[bool]]:
        rows = self._rows
        wanted: list[ColumnElement[bool]] = []
        if status == "open":
            wanted.append(rows.c.status.in_(OPEN))
        elif status is not None:
            wanted.append(rows.c.status == status)
        if customer is not None:
            wanted.append(rows.c.customer_key == customer)
        if since is not None:
            wanted.append(rows.c.created_at >= since)
        return wanted

    def _open_to(self, act: Act, wanted: Wanted) -> Sequence[ColumnElement[bool]]:
        rows = self._rows
        if act == "ack":
            unknown = or_(rows.c.acked_at.is_(None), rows.c.acked_at < rows.c.settled_at)
            return [rows.c.status.in_(ALARMING), unknown, *self._narrowed(wanted)]
        found = [
            rows.c.conversion.is_not(None),
            *self._narrowed(wanted),
        ]
        if act == "discard":
            return [*found, rows.c.status.in_(DISCARDABLE)]
        return [*found, or_(rows.c.status.in_(RETRIABLE), self._given_up_by_the_network())]

    def _narrowed(self, wanted: Wanted) -> list[ColumnElement[bool]]:
        rows = self._rows
        found: list[ColumnElement[bool]] = []
        found += self._matching(status=wanted.status, customer=wanted.customer, since=wanted.since)
        if wanted.delivery_id is not None:
            found.append(rows.c.id == wanted.delivery_id)
        for column, value in (
            (rows.c.network, wanted.network),
            (rows.c.kind, wanted.kind),
            (rows.c.detail, wanted.detail),
            (rows.c.partner_key, wanted.partner),
        ):
            if value == "":
                found.append(or_(column.is_(None), column == ""))
            elif value is not None:
                found.append(column == value)
        if wanted.worded:
            found.append(or_(*(one.met_by(rows) for one in wanted.worded)))
        if wanted.until is not None:
            found.append(rows.c.created_at < wanted.until)
        if wanted.before_id is not None:
            found.append(rows.c.id <= wanted.before_id)
        return found

    def _given_up_by_the_network(self) -> ColumnElement[bool]:
        """Select deliveries that are unattributed on the network's word alone: they depend on none here.

        Where one is, the parent is what has to go, and it brings the others along.
        """
        rows, parents = self._rows, self._rows.alias("parents")
        same = (parents.c.network == rows.c.network, parents.c.dedupe == rows.c.parent)
        unattributed = rows.c.status == Status.UNATTRIBUTED.value
        return and_(unattributed, rows.c.parent.is_not(None), ~exists().where(*same))


def _reviewed(rows: Any) -> tuple[ColumnElement[bool], ...]:
    waits = rows.c.status == Status.UNATTRIBUTED.value
    return waits, rows.c.reason == Reason.REVIEW.value, rows.c.conversion.is_not(None)


def attempt_of(row: RowMapping) -> Attempt:
    return Attempt(**{name: row[name] for name in Attempt.__slots__})
