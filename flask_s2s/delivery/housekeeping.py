"""Housekeeping: whoever delivers says that it lives, looks whether its database forgot, and expires what
is overdue; now and then it does maintenance.

Where the database refuses that (a table that somebody locks, a right that is missing), deliveries go
on: it is told, and tried again at the next time. Without knowing whether it forgot nothing is sent,
nor before the leases are extended that a jump of the clock has ended.

It is one process's, however many workers that makes one after the other: each drain would do all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from ..store.database.clock import Times
from ..store.database.storage import Storage
from ..store.dialects.engines import truncate_log
from ..store.outbox.heartbeat import EXPIRING
from ..store.outbox.overdue import Overdue
from ..store.outbox.retention import Retention
from ..store.privacy.erasing import MOMENT
from ..store.restores import Memory
from .throttle import Throttle

log = logging.getLogger("flask_s2s.worker")

_HEARTBEAT = timedelta(seconds=20)
_SWEEP = timedelta(minutes=5)


class Housekeeping:
    """One process's, of its deliveries."""

    def __init__(
        self,
        *,
        overdue: Overdue,
        memory: Memory,
        times: Times,
        pulling: Sequence[Callable[[datetime], int]],
        lease: timedelta,
        on_alive: Callable[[datetime, Throttle], None],
    ) -> None:
        """Each of `pulling` brings near what a clock that was ahead has put off, and counts it. Every 20
        seconds `on_alive` says that this process lives, and what it has under way.
        """
        self._overdue = overdue
        self._memory = memory
        self._clock, self._witness = times.clock, times.witness
        self._pulling = pulling
        # As a worker holds what it claims: what is left of it has its turn within one lease.
        self._hold = lease * 3 / 4
        self._on_alive = on_alive
        self._told_alive: datetime | None = None
        self._swept: datetime | None = None

    def __call__(self, throttle: Throttle) -> datetime:
        """Do what it is time for; return the time, which may be corrected meanwhile."""
        now = self._clock.now()
        if self._memory.forgot(now):
            self.restored(now)
        # A clock that was set back is looked at at once, not when it is as late again.
        if self._told_alive is None or abs(now - self._told_alive) >= _HEARTBEAT:
            self._told_alive = now
            _try(lambda: self._on_alive(now, throttle))
            # It compares clocks, perhaps for the first time in hours: nothing expires by the old one.
            now = self._clock.now()
        if self._swept is None or abs(now - self._swept) >= _SWEEP:
            self._swept = now
            _try(lambda: self._sweep(now))
        jumped = self._witness.jumped(now)
        if jumped is not None and now < jumped + self._hold:
            # No holder of a lease has had it whole.
            self._overdue.extend(jumped + self._hold, now, self._witness.passed(now))
        return now

    def restored(self, now: datetime) -> None:
        """Mark what is open: the database forgot what came of it."""
        marked = self._memory.mark(now)
        log.error(
            "s2s.database.forgot: the database lost what was written last, by a restored backup or "
            "a failover. %d open payments and actions are looked for before they are sent again, "
            "%d sign-ups are repeated",
            marked.looked_for,
            marked.repeated,
            extra={"action": "database.forgot"},
        )

    def _sweep(self, now: datetime) -> None:
        pulled = sum(pull(now) for pull in self._pulling)
        if pulled:
            log.warning(
                "s2s.clock.was_ahead: %d deliveries or lanes were put off further than anything is, "
                "by a clock that was ahead; they go on now",
                pulled,
                extra={"action": "clock.was_ahead"},
            )
        expired = self._overdue.expire(now, self._witness.passed(now))
        if expired:
            log.error(
                "s2s.delivery.expired: %d deliveries passed their deadline; "
                "see `flask s2s list --status expired`",
                expired,
                extra={"action": "delivery.expired"},
            )
        expiring = self._overdue.count_expiring(now + EXPIRING)
        if expiring:
            log.error(
                "s2s.delivery.expiring: %d undelivered conversions pass their deadline within "
                "%d days; see `flask s2s list --status open`",
                expiring,
                EXPIRING.days,
                extra={"action": "delivery.expiring"},
            )


def _try(do: Callable[[], None]) -> None:
    try:
        do()
    except SQLAlchemyError as error:
        log.warning(
            "s2s.housekeeping.failed: %s; deliveries go on, and it is tried again",
            type(error).__name__,
            extra={"action": "housekeeping.failed"},
        )


#: How many batches go at once: deliveries wait for them.
_BATCHES = 4


class Maintenance:
    """Deletes what is past every window of one app's database, and what was erased from its file.

    Clicks, bindings and used links go, a few batches at a time, so that nobody has to remember `prune`.
    The write-ahead log of a file of our own is emptied, so that what was erased is nowhere in it within
    a minute.
    """

    def __init__(self, storage: Storage, retention: Callable[[datetime], Retention]) -> None:
        self._storage = storage
        self._retention = retention

    def run(self, now: datetime) -> None:
        """Do it. What fails is told, and tried again the next time."""
        if self._storage.begun or self._storage.is_lent():
            return  # whatever we did would commit a caller's transaction, or wait for a test's
        try:
            retention = self._retention(now)
            for _ in range(_BATCHES):
                if not retention.sweep():
                    break
            if self._storage.ours and self._storage.is_local():
                truncate_log(self._storage.engine(), MOMENT)
        except SQLAlchemyError as error:
            log.warning(
                "s2s.maintenance.failed: %s; it is tried again",
                type(error).__name__,
                extra={"action": "maintenance.failed"},
            )
