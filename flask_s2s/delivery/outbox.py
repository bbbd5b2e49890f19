"""Every SQL statement that moves a delivery.

Decisions. *Marker and effect are one row*: the UNIQUE constraint on (network, dedupe) is the only
de-duplication, and `add` is one upsert, never a read and then an insert. *A lease with a fence*:
`claim` stamps a token and every settle filters on it; an expired lease is claimed by the ordinary
claim, because a leased row's `due_at` is the end of its lease. Given a connection, nothing here begins,
commits or rolls back.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Connection,
    Engine,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Dialect

from ..tables import LEASED, Tables
from . import claiming
from .installation import Installation
from .kin import call_children, has_moved
from .listening import notification
from .rows import Settled, closing, dedupe_hash, delivery_of, row_of, settling
from .settlement import Delivery, Settlement, Status
from .upsert import Upsert

Identity = tuple[str, ...]
#: Makes a row in the transaction that adds it.
Draft = Callable[[Connection], Delivery]


class _Held:
    """A claimed delivery in a statement that is built once and executed for many."""

    id: Any = bindparam("its_id")
    lease_token: Any = bindparam("its_token")
    number: Any = bindparam("its_number")


def new_token() -> str:
    """Return a lease token that nobody else has."""
    return secrets.token_hex(16)


class Outbox:
    """The deliveries of one database."""

    def __init__(self, engine: Callable[[], Engine], tables: Tables) -> None:
        self._engine = engine
        self._rows = tables.delivery
        self._attempts = tables.attempt
        self._moving = update(tables.delivery).where(*self._fence(_Held))
        attempts = tables.attempt
        self._closing = update(attempts).where(
            attempts.c.delivery_id == _Held.id,
            attempts.c.number == _Held.number,
            attempts.c.closed_at.is_(None),
        )
        self._installation = Installation(engine, tables.meta)
        self._upserts: WeakKeyDictionary[Dialect, Upsert] = WeakKeyDictionary()

    # -- adding -------------------------------------------------------------------------------

    def add(
        self,
        connection: Connection,
        draft: Delivery,
        identity: Identity,
        parent: Identity | None = None,
    ) -> Delivery:
        """Insert `draft` in the caller's transaction; return it, or the one that was there first.

        An empty `identity` is like no other; `parent` is the identity of the conversion that must
        be accepted first. Raises what the database raises.
        """
        dedupe = self.hashed(connection, identity)
        if parent is not None:
            draft = replace(draft, parent=self.hashed(connection, parent))
        dialect = connection.dialect
        upsert = self._upserts.get(dialect)
        if upsert is None:
            upsert = self._upserts[dialect] = Upsert(dialect, self._rows)
        result = upsert.execute(connection, row_of(draft, dedupe))
        if result.returns_rows:
            added = result.scalar()
            if added is not None:
                return draft.stored(added, dedupe)
        same = and_(self._rows.c.network == draft.network, self._rows.c.dedupe == dedupe)
        found = select(self._rows).where(same)
        if dialect.name in ("mysql", "mariadb"):
            # An ordinary read sees the caller's snapshot, in which the other's row may be missing.
            found = found.with_for_update(read=True)
        return delivery_of(connection.execute(found).mappings().one())

    def add_alone(
        self, draft: Draft, identity: Identity, parent: Identity | None = None
    ) -> Delivery:
        """Insert what `draft` makes, in a transaction of its own."""
        with self._engine().begin() as connection:
            return self.add(connection, draft(connection), identity, parent)

    def share(self, connection: Connection, delivery: Delivery, token: str) -> None:
        """Another view committed the same: the one that armed the row may not withdraw it now."""
        rows = self._rows
        armed = (rows.c.id == delivery.id, rows.c.status == Status.ARMED.value)
        connection.execute(update(rows).where(*armed).values(lease_token=token))

    def release(self, delivery_id: int, token: str, now: datetime) -> bool:
        """The view that armed the row succeeded: send it now. Says whether it still held it."""
        return self._leave_armed(delivery_id, token, status=Status.PENDING.value, due_at=now)

    def withdraw(self, delivery_id: int, token: str, now: datetime, why: str) -> None:
        """The view that armed the row failed: do not send it, but keep why."""
        values = {"due_at": None, "settled_at": now, "detail": why}
        self._leave_armed(delivery_id, token, status=Status.WITHDRAWN.value, **values)

    def _leave_armed(self, delivery_id: int, token: str, **values: Any) -> bool:
        rows = self._rows
        mine = (rows.c.id == delivery_id, rows.c.lease_token == token)
        armed = update(rows).where(*mine, rows.c.status == Status.ARMED.value)
        with self._engine().begin() as connection:
            left = connection.execute(armed.values(lease_token=None, **values)).rowcount == 1
            if connection.dialect.name == "postgresql":
                connection.execute(select(notification()))
        return left

    # -- claiming -----------------------------------------------------------------------------

    def claim(
        self,
        *,
        limit: int,
        now: datetime,
        lease: timedelta,
        closed: Sequence[str] = (),
        only: str | None = None,
    ) -> list[Delivery]:
        """Lease up to `limit` due deliveries and open an attempt for each, in one transaction.

        Lanes in `closed` are left alone; with `only`, nothing else is taken.
        """
        token = new_token()
        with self._engine().begin() as connection:
            found = claiming.due(self._rows, now, limit, closed, only)
            claimed = claiming.lease(connection, self._rows, found, token, now + lease)
            if claimed:
                opened = [
                    {"delivery_id": d.id, "number": d.attempts, "lease_token": token}
                    for d in claimed
                ]
                connection.execute(insert(self._attempts).values(opened_at=now), opened)
        return claimed

    def next_due(self, closed: Sequence[str] = ()) -> datetime | None:
        """Return when the next delivery is due, leaving out closed lanes."""
        rows = self._rows
        # Not min(): MariaDB would read the index to its end for that.
        soonest = select(rows.c.due_at).where(rows.c.due_at.is_not(None)).order_by(rows.c.due_at)
        if closed:
            soonest = soonest.where(rows.c.lane.not_in(closed))
        with self._engine().connect() as connection:
            moment: datetime | None = connection.scalar(soonest.limit(1))
        return moment

    # -- settling -----------------------------------------------------------------------------

    def settle(self, settled: Sequence[Settled], now: datetime) -> list[bool]:
        """Write what became of claimed deliveries, in one transaction.

        Returns, for each, whether the lease was still ours: a stale worker changes nothing.
        """
        with self._engine().connect() as connection:
            counts = connection.dialect.supports_sane_multi_rowcount
            if settled and counts and self._settle_all(connection, settled, now):
                return [True] * len(settled)
            with connection.begin():
                ours = [self._settle(connection, [one], now) for one in settled]
                self._call_children(connection, settled, now)
            return ours

    def give_back(self, deliveries: Sequence[Delivery], now: datetime) -> None:
        """Return claimed deliveries that were not sent, without having used an attempt."""
        for delivery in deliveries:
            with self._engine().begin() as connection:
                self._return(connection, delivery, status=Status.PENDING.value, due_at=now)

    def put_back(
        self, delivery: Delivery, next_: Settlement, now: datetime, parent: Delivery | None
    ) -> bool:
        """Let a claimed delivery wait, or end, unsent and without having used an attempt.

        `parent` is what that was decided on: where it has moved since, the delivery is due at once.
        Returns whether it became what was decided.
        """
        values = {
            "status": next_.status.value,
            "due_at": next_.due_at,
            "detail": next_.detail[:255],
            "read_to": next_.read_to,
        }
        with self._engine().begin() as connection:
            if parent is not None and has_moved(connection, self._rows, parent):
                self._return(connection, delivery, status=Status.WAITING.value, due_at=now)
                return False
            settled_at = now if next_.settled else None
            ours = self._return(connection, delivery, settled_at=settled_at, **values)
            if ours and next_.settled:
                call_children(connection, self._rows, [delivery], now)
            return ours

    def _return(self, connection: Connection, delivery: Delivery, **values: Any) -> bool:
        attempts = self._attempts
        unused = update(self._rows).where(*self._fence(delivery))
        unused = unused.values(lease_token=None, attempts=delivery.attempts - 1, **values)
        if not connection.execute(unused).rowcount:
            return False
        connection.execute(
            delete(attempts).where(
                attempts.c.delivery_id == delivery.id,
                attempts.c.lease_token == delivery.lease_token,
            )
        )
        return True

    def parents(self, deliveries: Sequence[Delivery]) -> dict[str, Delivery]:
        """Return the deliveries that these wait for, by their `dedupe`, as far as they are here."""
        wanted = {delivery.parent for delivery in deliveries if delivery.parent is not None}
        if not wanted:
            return {}
        rows = self._rows
        with self._engine().connect() as connection:
            found = connection.execute(select(rows).where(rows.c.dedupe.in_(wanted))).mappings()
            return {row["dedupe"]: delivery_of(row) for row in found}

    def expire_overdue(self, now: datetime) -> int:
        """Expire what nobody holds and whose deadline has passed; return how many."""
        rows = self._rows
        overdue = and_(
            rows.c.due_at.is_not(None), rows.c.deadline_at <= now, rows.c.status.not_in(LEASED)
        )
        expired = (
            update(rows)
            .where(overdue)
            .values(status=Status.EXPIRED.value, due_at=None, settled_at=now)
        )
        with self._engine().begin() as connection:
            return connection.execute(expired).rowcount

    def count_expiring(self, before: datetime) -> int:
        """Count what is not delivered and whose deadline passes before `before`."""
        rows = self._rows
        soon = and_(rows.c.due_at.is_not(None), rows.c.deadline_at <= before)
        with self._engine().connect() as connection:
            return connection.scalar(select(func.count()).select_from(rows).where(soon)) or 0

    def _fence(self, delivery: Any) -> tuple[Any, Any]:
        return (self._rows.c.id == delivery.id, self._rows.c.lease_token == delivery.lease_token)

    def _settle_all(
        self, connection: Connection, settled: Sequence[Settled], now: datetime
    ) -> bool:
        """Settle all if every lease is still ours, else none: which is not, only each by itself tells."""
        with connection.begin() as transaction:
            if self._settle(connection, settled, now):
                self._call_children(connection, settled, now)
                return True
            transaction.rollback()
            return False

    def _settle(self, connection: Connection, batch: Sequence[Settled], now: datetime) -> bool:
        """Write a batch; say whether all of it was still ours. If not, part of it may be written."""
        moving = [settling(*one, now) for one in batch]
        if connection.execute(self._moving, moving).rowcount != len(batch):
            return False
        connection.execute(self._closing, [closing(*one, now) for one in batch])
        return True

    def _call_children(
        self, connection: Connection, settled: Sequence[Settled], now: datetime
    ) -> None:
        moved = [delivery for delivery, settlement, _ in settled if settlement.settled]
        call_children(connection, self._rows, moved, now)

    # -----------------------------------------------------------------------------------------

    def hashed(self, connection: Connection, identity: Identity) -> str:
        """Return the keyed hash of what makes a conversion itself; none is like an empty one's."""
        if not identity:
            return secrets.token_hex(32)
        return dedupe_hash(self._installation.key(connection), identity)
