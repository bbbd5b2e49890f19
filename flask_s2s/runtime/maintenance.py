"""Maintenance: what a worker does now and then for the database, beside delivering.

It deletes what is past every window (clicks, bindings, used links), a few batches at a time, so that
nobody has to remember `prune`; and it empties the write-ahead log of a file of our own, so that what
was erased is nowhere in it within a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from ..store.database.storage import Storage
from ..store.dialects.engines import truncate_log
from ..store.outbox.retention import Retention
from ..store.privacy.erasing import MOMENT

log = logging.getLogger("flask_s2s.worker")

#: How many batches go at once: deliveries wait for them.
_BATCHES = 4


class Maintenance:
    """Of one app's database."""

    def __init__(self, storage: Storage, retention: Callable[[datetime], Retention]) -> None:
        self._storage = storage
        self._retention = retention

    def run(self, now: datetime) -> None:
        """Do it. What fails is told, and tried again the next time."""
        if self._storage.begun:
            return  # whatever we did would commit a caller's transaction
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
