"""Telling, in the web process, that nothing drains the outbox.

With `S2S_WORKER = "external"` a worker that was never started, or died, cannot tell of itself. So
the processes that write conversions look now and then whether anybody delivers them: in a thread of
its own, at most once a minute, and never in a visitor's way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Thread

from sqlalchemy.exc import SQLAlchemyError

from ..clock import Clock
from .vitals import Summary

log = logging.getLogger("flask_s2s")

_EVERY = timedelta(minutes=1)
#: How long something due may wait, with no sign of a worker, before that is told.
SILENCE = timedelta(minutes=2)


def nobody_drains(summary: Summary, now: datetime) -> bool:
    """Say whether work is overdue and no worker has been seen."""
    overdue = summary.oldest_due is not None and now - summary.oldest_due > SILENCE
    silent = summary.worker_seen is None or now - summary.worker_seen > SILENCE
    return overdue and silent


class Watchman:
    """Called after each commit of something due."""

    def __init__(self, clock: Clock, summary: Callable[[], Summary]) -> None:
        self._clock = clock
        self._summary = summary
        self._looked: datetime | None = None

    def __call__(self) -> None:
        now = self._clock.now()
        if self._looked is None or now - self._looked >= _EVERY:
            self._looked = now
            Thread(target=self.look, name="s2s-watch", daemon=True).start()

    def look(self) -> None:
        """Look once, and tell."""
        try:
            summary = self._summary()
        except SQLAlchemyError:
            return
        if nobody_drains(summary, self._clock.now()):
            log.error(
                "s2s.outbox.stalled: deliveries are overdue and no worker has been seen. "
                "Start `flask s2s work`, or set S2S_WORKER to embedded",
                extra={"action": "outbox.stalled"},
            )
