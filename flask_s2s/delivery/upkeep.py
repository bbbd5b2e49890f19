"""What a worker does now and then, beside delivering: it says that it lives, and ends what is overdue."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from .outbox import Outbox
from .vitals import EXPIRING

log = logging.getLogger("flask_s2s.worker")

_HEARTBEAT = timedelta(seconds=20)
_SWEEP = timedelta(minutes=5)


class Upkeep:
    """One worker's, of its outbox."""

    def __init__(self, outbox: Outbox, on_alive: Callable[[datetime], None]) -> None:
        self._outbox = outbox
        self._on_alive = on_alive
        self._told_alive: datetime | None = None
        self._swept: datetime | None = None

    def __call__(self, now: datetime) -> None:
        """Do what it is time for."""
        # A clock that was set back is looked at at once, not when it is as late again.
        if self._told_alive is None or abs(now - self._told_alive) >= _HEARTBEAT:
            self._told_alive = now
            self._on_alive(now)
        if self._swept is None or abs(now - self._swept) >= _SWEEP:
            self._swept = now
            self._sweep(now)

    def _sweep(self, now: datetime) -> None:
        expired = self._outbox.expire_overdue(now)
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
