"""A database that forgot: a restored backup, or a failover that lost the last second.

What was sent after the moment that such a database remembers is open there once more, and would be
sent a second time without a look. So who delivers remembers the attempt that was closed last, by
whichever process, and looks whether that is still there: on each new connection, after each failure,
when it could not close one, and now and then. If it is not, all that is open may have arrived: a
payment is then looked for before it is repeated, a sign-up is repeated, which is harmless.

Who starts with a backup remembers nothing. So what had waited long before is looked for once, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Table,
    and_,
    case,
    func,
    literal,
    null,
    select,
    update,
)

from ..networks.reading import Reading, Unknown
from ..rules.delivery import Delivery
from ..rules.states import OPEN, Status
from .database.storage import Storage
from .dialects.statements import in_order
from .outbox.rows import delivery_of
from .row_locks import update_many

_EVERY = timedelta(seconds=20)
#: What is older may have been pruned.
_KEPT = timedelta(days=1)
#: Kinds of which a repeat may count twice, or is answered with "not there".
_LOOKED_FOR = ("action", "transaction", "reversal")
#: How many one look through a list is for.
_AT_ONCE = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """Counts of open deliveries in a restored database that may have arrived."""

    #: Looked for before it is sent again.
    looked_for: int
    #: Sign-ups, which are simply sent again.
    repeated: int


class Memory:
    """The attempt that was closed last, as this process knows."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rows, self._attempts = storage.tables.delivery, storage.tables.attempt
        self._last: tuple[int, int, str | None] | None = None
        self._at: datetime | None = None
        self._closed = True
        self._looked: datetime | None = None
        self._doubtful = False
        #: What it is known by in a connection that it has met.
        self._met = object()

    def keep(self, delivery_id: int, number: int, token: str | None, now: datetime) -> None:
        """Remember an attempt that was closed."""
        # What a test rolls back was not forgotten.
        if self._storage.is_lent():
            return
        self._last, self._at, self._closed = (delivery_id, number, token), now, True

    def miss(self, delivery_id: int, number: int, token: str | None, now: datetime) -> None:
        """Remember one that could not be closed: if it is not even open, it was forgotten."""
        self.keep(delivery_id, number, token, now)
        self._closed, self._doubtful = False, True

    def doubt(self) -> None:
        """Something happened to the database: look at the next occasion."""
        self._doubtful = True

    @property
    def doubts(self) -> bool:
        """Whether something has happened to the database since it was looked at."""
        return self._doubtful

    def forgot(self, now: datetime) -> bool:
        """Say whether the database has lost what it had, until what is open is marked."""
        rested = self._looked is not None and abs(now - self._looked) < _EVERY
        if rested and not self._doubtful:
            return False
        if self._storage.is_lent():
            return False
        known = self._last if self._at is not None and now - self._at < _KEPT else None

        def look(connection: Connection) -> tuple[bool, Any]:
            there = known is None or self._is_there(connection, known)
            return there, connection.execute(_newest(self._attempts)).one_or_none()

        there, newest = self._storage.read(look)
        if not there:
            return True
        if newest is not None:
            # Another process may have closed it, and be gone.
            self._last, self._at, self._closed = (*newest[:3],), min(newest.closed_at, now), True
        self._looked, self._doubtful = now, False
        return False

    def mark(self, now: datetime) -> Marked:
        """It has: mark what is open."""
        marked = mark_open(self._storage, now)
        self._last = None
        return marked

    def _is_there(self, connection: Connection, last: tuple[int, int, str | None]) -> bool:
        """Say whether it is: an emptied delivery has none, its person's were erased."""
        rows = self._rows
        table, (delivery_id, number, token) = self._attempts, last
        this = select(table.c.id).where(
            table.c.delivery_id == delivery_id,
            table.c.number == number,
            table.c.lease_token == token,
        )
        if self._closed:
            this = this.where(table.c.closed_at.is_not(None))
        emptied = select(rows.c.id).where(rows.c.id == delivery_id, rows.c.customer_key.is_(None))
        return connection.scalar(this) is not None or connection.scalar(emptied) is not None

    def meet(self, connection: Connection) -> None:
        """Doubt where a connection is new. No listener of the pool's: a page may be connecting."""
        if self._met not in connection.info:
            connection.info[self._met] = True
            self._doubtful = True


def _newest(attempts: Table) -> Select[Any]:
    """Select the attempt that was closed last, by whichever process."""
    found = select(
        *(attempts.c[name] for name in ("delivery_id", "number", "lease_token", "closed_at"))
    )
    return found.where(attempts.c.closed_at.is_not(None)).order_by(attempts.c.id.desc()).limit(1)


def lock() -> AbstractContextManager[object]:
    """Return a lock for the threads that send."""
    # By its module's name: gevent may have replaced it after this module was imported.
    return threading.Lock()


class Look:
    """One look through the network's list for many deliveries, had when the first of them asks."""

    def __init__(self, deliveries: Iterable[Delivery]) -> None:
        self._sought = {one.id: one for one in deliveries}
        self._found: dict[int, Reading] = {}
        #: Whether asking for all of them failed: it may be for one of them.
        self._alone = False
        self._one_reads = lock()

    def read(
        self, delivery: Delivery, find: Callable[[Sequence[Delivery]], Sequence[Reading]]
    ) -> Reading | None:
        """Return what the list says of one; None: it could not be told. The next one asks again."""
        with self._one_reads:
            if delivery.id in self._sought:
                some = [delivery] if self._alone else list(self._sought.values())
                self._alone = True
                for one, reading in zip(some, find(some), strict=True):
                    if not isinstance(reading, Unknown):
                        self._found[self._sought.pop(one.id).id] = reading
                self._alone = False
            return self._found.pop(delivery.id, None)


class Inherited:
    """Deliveries that had waited before this process began: its database may be a restored backup.

    Then it was sent after the backup was made, which nothing in the database tells. So it is looked
    for once, where a repeat might count twice, and with it what was made in the same hour. What waited
    for moments only is not: then each start of a site would ask for whatever it begins with.
    """

    def __init__(self, began: datetime, storage: Storage) -> None:
        self._began = began
        self._storage = storage
        self._rows = storage.tables.delivery
        #: None: it was looked for.
        self._looks: dict[int, Look | None] = {}

    def gather(self, delivery: Delivery, waited: timedelta) -> None:
        """If it had waited for so long when this process began, have it looked for with others."""
        before = self._began - waited
        if delivery.created_at > before or delivery.id in self._looks or delivery.ambiguous_at:
            return
        alike = [one for one in self._alike(delivery, before) if one.conversion is not None]
        some = [delivery, *(one for one in alike if one.id not in self._looks)]
        self._looks |= dict.fromkeys((one.id for one in some), Look(some))

    def take(self, delivery: Delivery) -> Look | None:
        """Return, once, the look for a delivery that was gathered."""
        look = self._looks.get(delivery.id)
        if look is not None:
            self._looks[delivery.id] = None
        return look

    def _alike(self, delivery: Delivery, before: datetime) -> list[Delivery]:
        """Return the other open ones of its hour, beginning with itself, as many as one look takes."""
        rows = self._rows
        hour = delivery.created_at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        alike = (
            select(rows)
            .where(
                rows.c.kind == delivery.kind,
                rows.c.created_at.between(delivery.created_at, min(before, hour)),
                rows.c.network == delivery.network,
                rows.c.status.in_(OPEN),
                rows.c.ambiguous_at.is_(None),
                rows.c.conversion.is_not(None),
                rows.c.id != delivery.id,
            )
            .order_by(rows.c.created_at)
            .limit(_AT_ONCE - 1)
        )

        def look(connection: Connection) -> list[Delivery]:
            return [delivery_of(row) for row in connection.execute(alike).mappings()]

        return self._storage.read(look)


def count_open(storage: Storage) -> Marked:
    """Count what `mark_open` would mark, and the sign-ups that would be repeated."""
    rows = storage.tables.delivery
    opened = rows.c.status.in_(OPEN)
    counted = select(func.count()).select_from(rows).where(opened)
    with storage.connect() as connection:
        looked_for = connection.scalar(counted.where(rows.c.kind.in_(_LOOKED_FOR))) or 0
        return Marked(
            looked_for=looked_for, repeated=(connection.scalar(counted) or 0) - looked_for
        )


def count_sent(storage: Storage, since: datetime) -> int:
    """Count the payments and actions that were tried since then, as this database knows."""
    rows, tried = storage.tables.delivery, storage.tables.attempt
    joined = select(func.count(func.distinct(rows.c.id))).join_from(rows, tried)
    these = joined.where(rows.c.kind.in_(_LOOKED_FOR), tried.c.opened_at >= since)
    with storage.connect() as connection:
        return connection.scalar(these) or 0


def mark_open(storage: Storage, now: datetime) -> Marked:
    """Mark all that is open and not harmless to repeat as what may have arrived, by now.

    Whoever held it lost it with the database: such a lease ends here.
    """
    rows = storage.tables.delivery
    marked = count_open(storage)
    held = rows.c.status == Status.SENDING.value
    open_ = and_(rows.c.status.in_(OPEN), rows.c.kind.in_(_LOOKED_FOR))
    marking = in_order(
        update(rows),
        (rows.c.ambiguous_at, now),
        (rows.c.read_to, null()),
        (rows.c.lease_token, case((held, null()), else_=rows.c.lease_token)),
        (rows.c.due_at, case((held, literal(now, rows.c.due_at.type)), else_=rows.c.due_at)),
        (rows.c.status, case((held, Status.PENDING.value), else_=rows.c.status)),
    )
    unmarked = and_(open_, rows.c.ambiguous_at.is_distinct_from(now))
    update_many(storage, rows, marking, unmarked)
    left = select(rows.c.id).where(unmarked)
    # What a host holds is waited for, one by one: meanwhile nothing else is held.
    for one in storage.read(lambda connection: connection.scalars(left).all()):
        this = marking.where(rows.c.id == one, unmarked)
        storage.write(partial(Connection.execute, statement=this))
    return marked
