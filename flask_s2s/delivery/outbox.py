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
    Select,
    Table,
    and_,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.engine import Dialect

from ..tables import LEASED, Tables
from .claiming import Claims, Lease
from .installation import Installation
from .lanes import Lanes
from .listening import notification
from .refunds import take_along
from .rows import Settled, dedupe_hash, delivery_of, row_of, whole
from .settlement import Delivery, Settlement, Status
from .settling import Settling
from .upsert import Upsert

Identity = tuple[str, ...]


def new_token() -> str:
    """Return a lease token that nobody else has."""
    return secrets.token_hex(16)


class Outbox:
    """The deliveries of one database."""

    def __init__(self, engine: Callable[[], Engine], tables: Tables) -> None:
        self._engine = engine
        self._rows = tables.delivery
        self._next = _soonest(tables.delivery)
        self._lanes = Lanes(tables.delivery)
        rows = tables.delivery
        self._parents = select(rows).where(
            # By the unique index, which begins with the network.
            rows.c.network.in_(bindparam("networks", expanding=True)),
            rows.c.dedupe.in_(bindparam("wanted", expanding=True)),
        )
        self._claims = Claims(tables)
        self._settling = Settling(tables, self._take_along)
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

        They are the oldest ones. Lanes in `closed` are left alone; then what is claimed is all of
        one lane, that whose oldest is the oldest. With `only`, nothing is taken of other lanes.
        """
        engine = self._engine()

        def claim(lane: str | None) -> list[Delivery]:
            held = Lease(new_token(), now + lease)
            return self._claims.claim(engine, held, limit=limit, now=now, only=lane)

        if only is not None or not closed:
            return claim(only)
        with whole(engine) as connection:
            soonest = self._lanes.soonest(connection, closed)
        # Of the first lane others may hold all that is due.
        return next(filter(None, (claim(lane) for due, lane in soonest if due <= now)), [])

    def reclaim(
        self, *, limit: int, now: datetime, lease: timedelta, closed: Sequence[str] = ()
    ) -> list[Delivery]:
        """Claim only what somebody held whose lease has run out, however much else is due.

        An ordinary claim takes that as well, but in its turn.
        """
        held = Lease(new_token(), now + lease)
        return self._claims.reclaim(self._engine(), held, limit=limit, now=now, closed=closed)

    def next_due(self, closed: Sequence[str] = ()) -> datetime | None:
        """Return when the next delivery is due, leaving out closed lanes."""
        with whole(self._engine()) as connection:
            if closed:
                soonest = self._lanes.soonest(connection, closed)
                return soonest[0][0] if soonest else None
            return connection.scalar(self._next)

    # -- settling -----------------------------------------------------------------------------

    def settle(self, settled: Sequence[Settled], now: datetime) -> list[bool]:
        """Write what became of claimed deliveries, in one transaction.

        Returns, for each, whether the lease was still ours: a stale worker changes nothing.
        """
        return self._settling.settle(self._engine(), settled, now)

    def _take_along(self, connection: Connection, taken: Sequence[Delivery], now: datetime) -> None:
        take_along(connection, self._rows, self.add, taken, now)

    def give_back(self, deliveries: Sequence[Delivery], now: datetime) -> None:
        """Return claimed deliveries that were not sent, without having used an attempt."""
        for delivery in deliveries:
            self._settling.give_back(self._engine(), delivery, now)

    def put_back(
        self, delivery: Delivery, next_: Settlement, now: datetime, parent: Delivery | None
    ) -> bool:
        """Let a claimed delivery wait, or end, unsent and without having used an attempt.

        `parent` is what that was decided on: where it has moved since, the delivery is due at once.
        Returns whether it became what was decided.
        """
        return self._settling.put_back(self._engine(), delivery, next_, now, parent)

    def parents(self, deliveries: Sequence[Delivery]) -> dict[str, Delivery]:
        """Return the deliveries that these wait for, by their `dedupe`, as far as they are here."""
        wanted = {delivery.parent for delivery in deliveries if delivery.parent is not None}
        if not wanted:
            return {}
        theirs = {"networks": list({one.network for one in deliveries}), "wanted": list(wanted)}
        with whole(self._engine()) as connection:
            found = connection.execute(self._parents, theirs).mappings()
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
        with whole(self._engine()) as connection:
            # Ordinarily there is none. On MariaDB, looking with locks meets those of a claim.
            if connection.scalar(select(rows.c.id).where(overdue).limit(1)) is None:
                return 0
        with self._engine().begin() as connection:
            return connection.execute(expired).rowcount

    def count_expiring(self, before: datetime) -> int:
        """Count what is not delivered and whose deadline passes before `before`."""
        rows = self._rows
        soon = and_(rows.c.due_at.is_not(None), rows.c.deadline_at <= before)
        with self._engine().connect() as connection:
            return connection.scalar(select(func.count()).select_from(rows).where(soon)) or 0

    # -----------------------------------------------------------------------------------------

    def hashed(self, connection: Connection, identity: Identity) -> str:
        """Return the keyed hash of what makes a conversion itself; none is like an empty one's."""
        if not identity:
            return secrets.token_hex(32)
        return dedupe_hash(self._installation.key(connection), identity)


def _soonest(rows: Table) -> Select[datetime]:
    # Not min(): MariaDB would read the index to its end for that.
    soonest = select(rows.c.due_at).where(rows.c.due_at.is_not(None)).order_by(rows.c.due_at)
    return soonest.limit(1)
