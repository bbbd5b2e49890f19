"""The click rows: every SQL statement about clicks, and what one may cost a landing.

A click row is history (who came through which link, when), never what attribution depends on: the
cookie carries the click. So a landing gives it at most `WAIT` seconds. SQLite files get a small
engine of their own whose lock wait is bounded; a database across a network gets a thread, because
neither a connect nor a dead peer can be bounded from inside the call. After a failure nothing is
tried for `PAUSE`; a write that was only slow (a process's first connection) ends that at once.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from sqlalchemy import Engine, Insert, Row, create_engine, event, func, insert, select
from sqlalchemy.pool import QueuePool, StaticPool

from ..click import Click, dump_click
from ..tables import Tables, inserting
from .bucket import Bucket
from .patience import WAIT, InThread, Late

log = logging.getLogger("flask_s2s.capture")

#: How long nothing is tried after a failure.
PAUSE = timedelta(seconds=30)

Write = Callable[[Click], None]


class Touches:
    """The click rows of one database."""

    def __init__(
        self,
        engine: Callable[[], Engine],
        tables: Tables,
        rate: float,
        begun: Callable[[], bool] = lambda: False,
    ) -> None:
        """`begun` says whether a caller's transaction is open on the only connection there is."""
        self._engine = engine
        self._begun = begun
        self._rows = tables.click
        self._bucket = Bucket(rate)
        self._write: Write | None = None
        self._pid = 0
        self._own: Engine | None = None
        self._paused_until: datetime | None = None
        self._counting = Lock()
        #: Clicks that got no row since the process started, by why: `rate` (S2S_CLICK_RATE),
        #: `failed`, `paused` (after a failure), `busy` (a caller's transaction is in the way).
        self.skipped: Counter[str] = Counter()

    def remember(self, click: Click, now: datetime) -> bool:
        """Store one row per (network, click ID), in bounded time; never raises."""
        if self._paused_until is not None and now < self._paused_until:
            return self._skip("paused")
        if not self._bucket.take(now):
            return self._skip("rate")
        late: Future[None] | None = None
        try:
            if self._begun():
                return self._skip("busy")
            self._get_writer()(click)
            return True
        except Late as error:
            problem, late = "no answer in time", error.write
        except Exception as error:  # noqa: BLE001 - logged below; the visitor sees nothing of it
            problem = type(error).__name__
        self._paused_until = now + PAUSE
        log.warning(
            "s2s.click.not_stored: %s; the cookie has it, next try in %d s",
            problem,
            PAUSE.total_seconds(),
            extra={"action": "click.not_stored"},
        )
        self._skip("failed")
        if late is not None:
            late.add_done_callback(self._arrived)
        return False

    def close(self) -> None:
        """Close the connections of our own."""
        if self._own is not None:
            self._own.dispose()
        self._own = self._write = None

    def find(self, click_id: str) -> Click | None:
        """Return the stored click with this ID."""
        rows = self._rows
        with self._engine().connect() as connection:
            row = connection.execute(select(rows).where(rows.c.click_id == click_id)).first()
        return None if row is None else _click_of(row)

    def count(self) -> int:
        """Return how many clicks are stored."""
        with self._engine().connect() as connection:
            return connection.scalar(select(func.count()).select_from(self._rows)) or 0

    def _arrived(self, write: Future[None]) -> None:
        """A write that nobody waited for has ended: where it was only slow, go on as before."""
        if write.exception() is None:
            self._paused_until = None
            with self._counting:
                self.skipped["failed"] -= 1

    def _skip(self, why: str) -> bool:
        with self._counting:
            self.skipped[why] += 1
        return False

    def _get_writer(self) -> Write:
        if self._write is None or self._pid != os.getpid():
            self._write, self._pid = self._make_writer(), os.getpid()
        return self._write

    def _make_writer(self) -> Write:
        engine = self._engine()
        if engine.dialect.name != "sqlite":
            return InThread[Click]("s2s-click", lambda click: self._insert(engine, click))
        if isinstance(engine.pool, StaticPool) or not engine.url.database:
            return lambda click: self._insert(engine, click)
        # Never a wait for the pool on top of the wait for the lock: it grows instead.
        own = create_engine(
            engine.url,
            connect_args={"timeout": WAIT},
            poolclass=QueuePool,
            pool_size=2,
            max_overflow=-1,
        )
        event.listen(own, "connect", _without_fsync)
        self._own = own
        return lambda click: self._insert(own, click)

    def _insert(self, engine: Engine, click: Click) -> None:
        with engine.begin() as connection:
            connection.execute(self._statement(connection.dialect.name), _row_of(click))

    def _statement(self, dialect: str) -> Insert:
        if dialect in ("mysql", "mariadb"):
            return insert(self._rows).prefix_with("IGNORE")
        adding: Insert = inserting(dialect)(self._rows).on_conflict_do_nothing()
        return adding


def _without_fsync(connection: Any, _record: Any) -> None:
    """With WAL, leave the fsync to whoever commits a conversion: a landing waits for no disk."""
    cursor = connection.cursor()
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _row_of(click: Click) -> dict[str, Any]:
    return {**dump_click(click), "at": click.at}


def _click_of(row: Row[Any]) -> Click:
    values = {name: row._mapping[name] for name in Click.__slots__}
    return Click(**{**values, "sub_ids": tuple(values["sub_ids"])})
