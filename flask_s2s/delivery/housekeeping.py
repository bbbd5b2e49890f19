"""The worker's housekeeping: it says that it lives, looks whether its database forgot, and expires what
is overdue.

Where the database refuses that (a table that somebody locks, a right that is missing), deliveries go
on: it is told, and tried again at the next time. Without knowing whether it forgot nothing is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from ..clock import Clock
from ..store.database.clock import Witness
from ..store.outbox.heartbeat import EXPIRING
from ..store.outbox.outbox import Outbox

log = logging.getLogger("flask_s2s.worker")

_HEARTBEAT = timedelta(seconds=20)
_SWEEP = timedelta(minutes=5)


class Housekeeping:
    """One worker's, of its outbox."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        on_alive: Callable[[datetime], None],
        witness: Witness,
        pulling: Sequence[Callable[[datetime], int]],
    ) -> None:
        """Each of `pulling` brings near what a clock that was ahead has put off, and counts it."""
        self._outbox = outbox
        self._clock = clock
        self._on_alive = on_alive
        self._witness = witness
        self._pulling = pulling
        self._told_alive: datetime | None = None
        self._swept: datetime | None = None

    def __call__(self) -> None:
        """Do what it is time for."""
        now = self._clock.now()
        self._witness.look(now)
        if self._outbox.memory.forgot(now):
            self._restored(now)
        # A clock that was set back is looked at at once, not when it is as late again.
        if self._told_alive is None or abs(now - self._told_alive) >= _HEARTBEAT:
            self._told_alive = now
            _try(self._on_alive, now)
            # It compares clocks, perhaps for the first time in hours: nothing expires by the old one.
            now = self._clock.now()
        if self._swept is None or abs(now - self._swept) >= _SWEEP:
            self._swept = now
            _try(self._sweep, now)

    def _restored(self, now: datetime) -> None:
        marked = self._outbox.may_have_arrived(now)
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
        expired = self._outbox.expire_overdue(now, self._witness.passed(now))
        if expired:
            log.error(
                "s2s.delivery.expired: %d deliveries passed their deadline; "
                "see `flask s2s list --status expired`",
                expired,
                extra={"action": "delivery.expired"},
            )
        expiring = self._outbox.count_expiring(now + EXPIRING)
        if expiring:
            log.error(
                "s2s.delivery.expiring: %d undelivered conversions pass their deadline within "
                "%d days; see `flask s2s list --status open`",
                expiring,
                EXPIRING.days,
                extra={"action": "delivery.expiring"},
            )


def _try(do: Callable[[datetime], None], now: datetime) -> None:
    try:
        do(now)
    except SQLAlchemyError as error:
        log.warning(
            "s2s.housekeeping.failed: %s; deliveries go on, and it is tried again",
            type(error).__name__,
            extra={"action": "housekeeping.failed"},
        )
