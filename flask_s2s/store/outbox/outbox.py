"""The outbox: it adds, claims and settles deliveries, and releases those that a view has armed.

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
from itertools import compress
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    and_,
    bindparam,
    case,
    func,
    literal,
    select,
    update,
)

from ...rules.delivery import Delivery, Settlement
from ...rules.identity import email_of, keyed_hash
from ...rules.states import LEASED, OPEN, Status
from ..database.listener import notification
from ..dialects.servers import as_committed, can_notify, may_notify
from ..dialects.statements import CompiledOnce, least
from ..privacy.keyring import Installation, Keyring
from ..privacy.seals import Seals
from ..restores import Marked, Memory, mark_open
from ..schema import Tables
from ..transactions import update_free, whole, write
from .claims import Claims, Lease
from .dependents import has_reversal, undo_parts, undone_at
from .insertion import delivery_upsert
from .lanes import Lanes
from .misdated import sent_too_late
from .rows import Settled, delivery_of, row_of
from .settling import Settling

Identity = tuple[str, ...]


def new_token() -> str:
    """Return a lease token that nobody else has."""
    return secrets.token_hex(16)


class Outbox:
    """The deliveries of one database."""

    def __init__(self, engine: Callable[[], Engine], tables: Tables, keyring: Keyring) -> None:
        self._engine = engine
        self.keyring = keyring
        self.seals = Seals(tables, keyring)
        self._rows = tables.delivery
        self._next = least(tables.delivery.c.due_at)
        self._lanes = Lanes(tables.delivery)
        rows = tables.delivery
        self._parents = select(rows).where(
            # By the unique index, which begins with the network.
            rows.c.network.in_(bindparam("networks", expanding=True)),
            rows.c.dedupe.in_(bindparam("wanted", expanding=True)),
        )
        self._tables = tables
        self.memory = Memory(engine, tables)
        self._claims = Claims(tables)
        self._settling = Settling(tables, self._undo_parts)
        self._installation = Installation(engine, tables.meta)
        self._upserts = CompiledOnce(tables.delivery, self._upsert)

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
        sort = may_notify(connection), parent is not None
        result = self._upserts.execute(connection, sort, row_of(draft, dedupe))
        if result.returns_rows:
            added = result.scalar()
            if added is not None:
                return self.seals.reconcile(connection, draft.stored(added, dedupe))
        same = and_(self._rows.c.network == draft.network, self._rows.c.dedupe == dedupe)
        found = as_committed(select(self._rows).where(same), connection)
        there = delivery_of(connection.execute(found).mappings().one())
        # Where nothing is returned, 1 is counted for a row that is new, and 2 for one that changed.
        new = not result.returns_rows and result.rowcount == 1
        return self.seals.reconcile(connection, there) if new else there

    def _upsert(self, connection: Connection, sort: tuple[bool, bool]) -> Any:
        notifies, dependent = sort
        return delivery_upsert(connection, self._rows, notifies=notifies, dependent=dependent)

    def told(
        self, connection: Connection, identity: Identity, networks: Sequence[str]
    ) -> Delivery | None:
        """Return the delivery of a conversion at any of these networks: the newest with a click."""
        these = {"networks": networks, "wanted": [self.hashed(connection, identity)]}
        found = connection.execute(self._parents, these).mappings()
        every = sorted(map(delivery_of, found), key=lambda one: one.id, reverse=True)
        return next((one for one in every if one.click is not None), next(iter(every), None))

    def person_of(self, connection: Connection, delivery: Delivery) -> str | None:
        """Return the hash of the person whom a stored delivery is of, where that is known."""
        rows = self._rows
        found: str | None = connection.scalar(select(rows.c.person).where(rows.c.id == delivery.id))
        return found

    def is_undone(self, connection: Connection, delivery: Delivery) -> bool:
        """Say whether the network has undone a payment."""
        return has_reversal(connection, self._rows, delivery)

    def has(self, connection: Connection, identity: Identity) -> bool:
        """Say whether a conversion is here, at any network."""
        rows, dedupe = self._rows, self.hashed(connection, identity)
        return connection.scalar(select(rows.c.id).where(rows.c.dedupe == dedupe)) is not None

    def undone_at(
        self, connection: Connection, payment: Identity, customer: str
    ) -> datetime | None:
        """Return when it was recorded that a customer's payment is undone, if that stands."""
        return undone_at(connection, self._rows, self.hashed(connection, payment), customer)

    def share(self, connection: Connection, delivery: Delivery, token: str) -> None:
        """Another view committed the same: the one that armed the row may not withdraw it now."""
        rows = self._rows
        armed = (rows.c.id == delivery.id, rows.c.status == Status.ARMED.value)
        connection.execute(update(rows).where(*armed).values(lease_token=token))

    def release(self, delivery_id: int, token: str, now: datetime) -> bool:
        """The view that armed the row succeeded: send it now. Says whether it still held it."""
        return self._leave_armed(delivery_id, token, status=Status.PENDING.value, due_at=now)

    def withdraw(self, delivery_id: int, token: str, now: datetime, why: str) -> bool:
        """The view that armed the row failed: do not send it, but keep why. Says as `release` does."""
        values = {"due_at": None, "settled_at": now, "detail": why}
        return self._leave_armed(delivery_id, token, status=Status.WITHDRAWN.value, **values)

    def _leave_armed(self, delivery_id: int, token: str, **values: Any) -> bool:
        rows = self._rows
        mine = (rows.c.id == delivery_id, rows.c.lease_token == token)
        armed = update(rows).where(*mine, rows.c.status == Status.ARMED.value)

        def leave(connection: Connection) -> bool:
            left = connection.execute(armed.values(lease_token=None, **values)).rowcount == 1
            if can_notify(connection):
                connection.execute(select(notification()))
            return left

        return write(self._engine(), leave)

    # -- claiming -----------------------------------------------------------------------------

    def claim(
        self,
        *,
        limit: int,
        now: datetime,
        lease: timedelta,
        closed: Sequence[str] = (),
    ) -> list[Delivery]:
        """Lease up to `limit` due deliveries and open an attempt for each, in one transaction.

        They are the oldest ones. Lanes in `closed` are left alone; then what is claimed is all of
        one lane, that whose oldest is the oldest.
        """
        engine = self._engine()

        def claim(lane: str | None) -> list[Delivery]:
            held = Lease(new_token(), now + lease)
            return self._claims.claim(engine, held, limit=limit, now=now, only=lane)

        if not closed:
            return claim(None)
        with whole(engine) as connection:
            soonest = self._lanes.soonest(connection, closed)
        # Of the first lane others may hold all that is due.
        return next(filter(None, (claim(lane) for due, lane in soonest if due <= now)), [])

    def probe(self, lane: str, *, now: datetime, lease: timedelta) -> list[Delivery]:
        """Claim one delivery of a closed lane: of what came due last, the newest tried least.

        It tells most of the network; what failed before may do so wherever it is sent.
        """
        held = Lease(new_token(), now + lease)
        return self._claims.probe(self._engine(), held, now=now, lane=lane)

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
            due: datetime | None = connection.scalar(self._next)
            return due

    # -- settling -----------------------------------------------------------------------------

    def settle(self, settled: Sequence[Settled], now: datetime) -> list[bool | None]:
        """Write what became of claimed deliveries, in one transaction.

        Returns, for each, whether the lease was still ours: a stale worker changes nothing. None:
        somebody else holds its row (a host that reports it again); it is to be settled later.
        """
        ours = self._settling.settle(self._engine(), settled, now)
        if closed := list(compress(settled, ours)):
            last = closed[-1][0]
            self.memory.keep(last.id, last.attempts, last.lease_token, now)
        if False in ours:
            # Taken over by another, or forgotten with the database.
            lost = settled[ours.index(False)][0]
            self.memory.miss(lost.id, lost.attempts, lost.lease_token, now)
        return ours

    def may_have_arrived(self, now: datetime) -> Marked:
        """The database forgot: mark what is open."""
        return mark_open(self._engine(), self._tables, now)

    def _undo_parts(self, connection: Connection, taken: Sequence[Delivery], now: datetime) -> None:
        undo_parts(connection, self._rows, self.add, taken, now)

    def give_back(self, deliveries: Sequence[Delivery], now: datetime) -> None:
        """Return claimed deliveries that were not sent, without having used an attempt."""
        for delivery in deliveries:
            self._settling.give_back(self._engine(), delivery, now)

    def put_back(
        self, delivery: Delivery, next_: Settlement, now: datetime, parent: Delivery | None
    ) -> bool | None:
        """Let a claimed delivery wait, or end, unsent and without having used an attempt.

        `parent` is what that was decided on: where it has moved since, the delivery is due at once.
        Returns whether it became what was decided; None: somebody else holds its row.
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

    def expire_overdue(self, now: datetime, passed: datetime) -> int:
        """Expire what nobody holds and whose deadline is not after `passed`; return how many."""
        rows = self._rows
        overdue = and_(
            rows.c.due_at.is_not(None), rows.c.deadline_at <= passed, rows.c.status.not_in(LEASED)
        )
        expired = update(rows).values(status=Status.EXPIRED.value, due_at=None, settled_at=now)
        with whole(self._engine()) as connection:
            # Ordinarily there is none, and looking with locks meets those of a claim (`skip_locked`).
            if connection.scalar(select(rows.c.id).where(overdue).limit(1)) is None:
                return 0
        return write(
            self._engine(), lambda connection: update_free(connection, rows, expired, overdue)
        )

    def pull_in(self, now: datetime, lease: timedelta) -> int:
        """Bring near what lies further ahead than any wait of ours; return how many.

        A clock that was ahead put it there. A lease gets its whole time again: who holds it may
        still be sending.
        """
        rows = self._rows
        put_off = sent_too_late(rows, now)
        with whole(self._engine()) as connection:
            if connection.scalar(select(rows.c.id).where(put_off).limit(1)) is None:
                return 0
        soon, at_once = (literal(at, rows.c.due_at.type) for at in (now + lease, now))
        held = rows.c.status.in_(LEASED)
        near = update(rows).where(put_off).values(due_at=case((held, soon), else_=at_once))
        return write(self._engine(), lambda connection: connection.execute(near).rowcount)

    def count_expiring(self, before: datetime) -> int:
        """Count what is not delivered and whose deadline passes before `before`."""
        rows = self._rows
        soon = and_(rows.c.status.in_(OPEN), rows.c.deadline_at <= before)
        with self._engine().connect() as connection:
            return connection.scalar(select(func.count()).select_from(rows).where(soon)) or 0

    # -----------------------------------------------------------------------------------------

    def person(self, connection: Connection, email: str) -> str | None:
        """Return the hash by which a delivery is found when its person asks to be forgotten."""
        address, key = email_of(email), self.keyring.person(connection)
        return None if address is None or key is None else key.hash("email", address)

    def hashed(self, connection: Connection, identity: Identity) -> str:
        """Return the keyed hash of what makes a conversion itself; none is like an empty one's.

        It outlives the customer key in a pruned row.
        """
        if not identity:
            return secrets.token_hex(32)
        return keyed_hash(self._installation.key(connection).encode(), *identity)
