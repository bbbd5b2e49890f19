"""Questions about deliveries, and what an operator changes by hand: SQL that no worker runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Engine,
    RowMapping,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from ..click import Click, load_click
from ..tables import OPEN, Tables
from .frozen import MOVED, frozen
from .rows import delivery_of
from .settlement import Delivery, Status

#: In whatever way they came to it. Of the unattributed, some: see `Ledger.retry`.
RETRIABLE = ("pending", "held", "refused", "expired", "withdrawn", "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a delivery. `outcome` None: never closed, so nobody knows."""

    number: int
    opened_at: datetime
    closed_at: datetime | None
    outcome: str | None
    http_status: int | None
    duration_ms: int | None
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which deliveries to send again: those that meet all that is set."""

    delivery_id: int | None = None
    status: str | None = None
    since: datetime | None = None
    network: str | None = None


class Ledger:
    """The deliveries of one database, for people."""

    def __init__(self, engine: Callable[[], Engine], tables: Tables) -> None:
        self._engine = engine
        self._rows = tables.delivery
        self._attempts = tables.attempt

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
        with self._engine().connect() as connection:
            return [delivery_of(row) for row in connection.execute(found).mappings()]

    def of_customer(self, customer: str, signup: str, networks: Iterable[str]) -> list[Delivery]:
        """Return all that a customer has, newest first.

        `signup` is the sign-up's `dedupe`: it finds too what was emptied, which names nobody.
        """
        rows = self._rows
        theirs = and_(rows.c.network.in_(networks), rows.c.dedupe == signup)
        emptied = and_(rows.c.customer_key.is_(None), or_(theirs, rows.c.parent == signup))
        found = select(rows).where(or_(rows.c.customer_key == customer, emptied))
        with self._engine().connect() as connection:
            listed = connection.execute(found.order_by(rows.c.id.desc())).mappings()
            return [delivery_of(row) for row in listed]

    def touches(self, customer: str) -> dict[int, list[Click]]:
        """Return a customer's clicks other than the one that each delivery has, newest first."""
        rows = self._rows
        theirs = (rows.c.customer_key == customer, rows.c.touches.is_not(None))
        kept = select(rows.c.id, rows.c.touches).where(*theirs)
        with self._engine().connect() as connection:
            return {
                row.id: [load_click(touch) for touch in row.touches]
                for row in connection.execute(kept)
            }

    def get(self, delivery_id: int) -> tuple[Delivery, list[Attempt]] | None:
        """Return one delivery and its attempts."""
        attempts = self._attempts
        tried = select(attempts).where(attempts.c.delivery_id == delivery_id)
        with self._engine().connect() as connection:
            row = connection.execute(select(self._rows).where(self._rows.c.id == delivery_id))
            found = row.mappings().first()
            if found is None:
                return None
            listed = connection.execute(tried.order_by(attempts.c.number)).mappings()
            return delivery_of(found), [_attempt_of(one) for one in listed]

    def retriable(self, wanted: Wanted) -> dict[tuple[str, str, str], int]:
        """Count what `retry` would send again, by status, kind and network."""
        rows = self._rows
        sorts = (rows.c.status, rows.c.kind, rows.c.network)
        counted = select(*sorts, func.count()).where(*self._retriable(wanted)).group_by(*sorts)
        with self._engine().connect() as connection:
            return {(s, k, n): number for s, k, n, number in connection.execute(counted)}

    def first(self, wanted: Wanted, limit: int) -> list[Delivery]:
        """Return the oldest of what `retry` would send again."""
        rows = self._rows
        found = select(rows).where(*self._retriable(wanted)).order_by(rows.c.id).limit(limit)
        with self._engine().connect() as connection:
            return [delivery_of(row) for row in connection.execute(found).mappings()]

    def retry(self, wanted: Wanted, now: datetime, give_up: timedelta) -> int:
        """Make deliveries due now, with a deadline of at least `give_up`; return how many.

        Among them what was given up because the network did not know its customer.
        """
        rows = self._rows
        again = update(rows).where(*self._retriable(wanted))
        soonest = literal(now + give_up, rows.c.deadline_at.type)
        later = case((rows.c.deadline_at > soonest, rows.c.deadline_at), else_=soonest)
        again = again.values(
            status=Status.PENDING.value, due_at=now, settled_at=None, deadline_at=later
        )
        with self._engine().begin() as connection:
            return connection.execute(again).rowcount

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

    def _retriable(self, wanted: Wanted) -> Sequence[ColumnElement[bool]]:
        rows = self._rows
        found: list[ColumnElement[bool]] = [
            or_(rows.c.status.in_(RETRIABLE), self._given_up_by_the_network()),
            rows.c.conversion.is_not(None),
            # Neither what another database has, nor what is on its way to one.
            or_(rows.c.detail.is_(None), rows.c.detail != MOVED),
            or_(rows.c.due_at.is_(None), ~frozen(rows)),
        ]
        found += self._matching(status=wanted.status, customer=None, since=wanted.since)
        if wanted.delivery_id is not None:
            found.append(rows.c.id == wanted.delivery_id)
        if wanted.network is not None:
            found.append(rows.c.network == wanted.network)
        return found

    def _given_up_by_the_network(self) -> ColumnElement[bool]:
        """What is unattributed on the network's word alone: no delivery here is its parent.

        Where one is, the parent is what has to go, and it brings the others along.
        """
        rows, parents = self._rows, self._rows.alias("parents")
        same = (parents.c.network == rows.c.network, parents.c.dedupe == rows.c.parent)
        unattributed = rows.c.status == Status.UNATTRIBUTED.value
        return and_(unattributed, rows.c.parent.is_not(None), ~exists().where(*same))


def _attempt_of(row: RowMapping) -> Attempt:
    return Attempt(**{name: row[name] for name in Attempt.__slots__})
