"""The click rows: writing and finding them, and the bounds of their cost.

A click row is history (who came through which link, when), never what attribution depends on: the
cookie carries the click. So a landing gives it at most `WAIT` seconds. SQLite files get a small
engine of their own whose lock wait is bounded; a database across a network gets a thread, because
neither a connect nor a dead peer can be bounded from inside the call. After a failure nothing is
tried for `PAUSE`; a write that was only slow (a process's first connection) ends that at once.

A row that is stored after its page went on may come after its visitor was forgotten or withdrew, who would
be back with it: such a row is left out where anybody was forgotten or withdrew since the landing.

`Quota` bounds a day's rows of a database, whatever asks for them in whichever process.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Engine, Row, Table, func, select
from sqlalchemy.pool import StaticPool

from .. import threads
from ..click import Click, dump_click, within
from ..threads import WAIT, Late, Written
from .background import Background
from .background import Write as Again
from .database.storage import Storage, write
from .dialects.engines import is_local, make_impatient_engine
from .dialects.servers import as_committed
from .dialects.statements import inserting_once, microseconds
from .losses import Losses
from .schema import FORGOTTEN

log = logging.getLogger("flask_s2s.capture")

#: How long nothing is tried after a failure.
PAUSE = timedelta(seconds=30)

#: How many rows are tried again at most before the first one is stored, and how soon, in seconds.
_EARLY, _SOON = 100, 0.1

#: A click, where its visitor landed, and when the page came, as `monotonic` counts.
Touch = tuple[Click, "dict[str, Any] | None", float]
Write = Callable[[Touch], None]

#: How many bytes of a click's sub IDs a row holds: one of full length in any script of everyday
#: use. The cookie has them all, as far as they fit.
_SUB_IDS = 1536


class _Full(Exception):
    """The day has its fill of rows."""


class _Forgotten(Exception):
    """Somebody was forgotten, or withdrew, since the landing: perhaps its visitor."""


class Touches:
    """The click rows of one database."""

    def __init__(
        self,
        storage: Storage,
        background: Background,
        losses: Losses,
        *,
        rate: float,
        day: int,
        refresh: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        """`rate` bounds new rows a second and process, and `day` those a day and database.

        `refresh` looks at the database's clock where a connection is at hand.
        """
        self._refresh = refresh
        self._storage = storage
        self._background = background
        self._losses = losses
        #: Whether a row was ever stored, and how many of before that are tried again.
        self._works, self._early = False, 0
        self._rows, self._meta = storage.tables.click, storage.tables.meta
        self._bucket = Bucket(rate)
        self._quota = Quota(self._rows, day)
        self._write: Write | None = None
        self._adding: Any = None
        self._pid = 0
        self._own: Engine | None = None
        self._paused_until: datetime | None = None
        self._counting = threads.lock()
        #: Clicks that got no row since the process started, by why: `rate` (S2S_CLICK_RATE), `day`
        #: (S2S_CLICK_DAY), `failed`, `paused` (after a failure), `busy` (a caller's transaction is in the way).
        self.skipped: Counter[str] = Counter()

    def remember(self, click: Click, now: datetime, landing: dict[str, Any] | None = None) -> bool:
        """Store one row per (network, click ID), in bounded time; never raises."""
        touch = (click, landing, monotonic())
        if self._paused_until is not None and now < self._paused_until <= now + PAUSE:
            return self._keep(touch) or self._skip("paused")
        if not self._bucket.take(now):
            return self._skip("rate")
        late: Written[Touch] | None = None
        try:
            if self._storage.begun:
                return self._skip("busy")
            self._get_writer()(touch)
            self._works = True
            return True
        except _Full:
            return self._skip("day")
        except Late as error:
            problem, late = "no answer in time", error.write
        except Exception as error:  # noqa: BLE001 - logged below; the visitor sees nothing of it
            problem = type(error).__name__
        self._paused_until = now + PAUSE
        if late is None and self._keep(touch):
            return True
        log.warning(
            "s2s.click.not_stored: %s; the cookie has it, next try in %d s",
            problem,
            PAUSE.total_seconds(),
            extra={"action": "click.not_stored"},
        )
        self._skip("failed")
        if late is not None:
            late.tell(self._arrived)
        return False

    def close(self) -> None:
        """Close the connections of our own."""
        if isinstance(self._write, threads.InThread):
            self._write.close()  # first: what it writes last opens a connection
        if self._own is not None:
            self._own.dispose()
        self._own = self._write = None

    def find(self, click_id: str) -> Click | None:
        """Return the stored click with this ID."""
        rows = self._rows
        with self._storage.connect() as connection:
            row = connection.execute(select(rows).where(rows.c.click_id == click_id)).first()
        return None if row is None else _click_of(row)

    def landing(self, click: Click) -> dict[str, Any] | None:
        """Return where the visitor of a stored click landed, if that was kept."""
        rows = self._rows
        this = (rows.c.click_id == click.click_id, rows.c.network == click.network)
        with self._storage.connect() as connection:
            kept: dict[str, Any] | None = connection.scalar(select(rows.c.landing).where(*this))
            return kept

    def count(self) -> int:
        """Return how many clicks are stored."""
        with self._storage.connect() as connection:
            return connection.scalar(select(func.count()).select_from(self._rows)) or 0

    def today(self, now: datetime) -> int:
        """Return how many clicks of this day are stored, up to `S2S_CLICK_DAY`."""
        with self._storage.connect() as connection:
            return self._quota.count(connection, now)

    def _keep(self, touch: Touch) -> bool:
        """Have the row of a site that only begins tried again: its file has no tables yet.

        Soon: until then nobody who asks for what is kept of its visitor finds it.
        """
        if self._works or self._early >= _EARLY:
            return False
        self._early += 1

        def store() -> None:
            self._storage.create_ours()
            self._get_writer()(touch)

        again = Again(run=store, stored=self._began)
        return self._storage.ours and self._background.later(again, _SOON)

    def _began(self, _: None) -> None:
        self._works, self._paused_until = True, None

    def _arrived(self, error: Exception | None) -> None:
        """A write that nobody waited for has ended: where it was only slow, go on as before."""
        if error is not None and not isinstance(error, _Full):
            return
        self._paused_until = None
        with self._counting:
            self.skipped["failed"] -= 1
        self._losses.click_after_all("failed")
        if error is not None:
            self._skip("day")

    def _skip(self, why: str) -> bool:
        with self._counting:
            self.skipped[why] += 1
        self._losses.click(why)
        return False

    def _get_writer(self) -> Write:
        if self._write is None or self._pid != os.getpid():
            self._write, self._pid = self._make_writer(), os.getpid()
        return self._write

    def _make_writer(self) -> Write:
        engine = self._storage.engine()
        self._adding = inserting_once(engine, self._rows)
        # A fork may have carried over the lock of one that was asking the database.
        self._quota = Quota(self._rows, self._quota.most)
        if not is_local(engine):
            # The thread's own: under gevent, one thread's connections are of no use in another.
            return threads.InThread[Touch](
                "s2s-click", lambda touch: self._insert(self._storage.engine(), touch)
            )
        if isinstance(engine.pool, StaticPool) or not engine.url.database:
            return lambda touch: self._insert(engine, touch)
        self._own = own = make_impatient_engine(engine, WAIT)
        return lambda touch: self._insert(own, touch)

    def _insert(self, engine: Engine, touch: Touch) -> None:
        click, landing, came = touch
        row = _row_of(click, landing)

        def add(connection: Connection) -> None:
            self._refresh(connection)
            if not self._quota.take(connection, click.at):
                raise _Full
            connection.execute(self._adding, row)
            # Asked last: on SQLite nobody is forgotten between this and the commit.
            if monotonic() - came >= WAIT and self._forgot_since(connection, click.at):
                raise _Forgotten

        with suppress(_Forgotten):
            write(engine, add)

    def _forgot_since(self, connection: Connection, at: datetime) -> bool:
        told = select(self._meta.c.value).where(self._meta.c.name == FORGOTTEN)
        # Locked: where a server forgets somebody just now, one of the two sees what the other wrote.
        forgot = connection.scalar(told.with_for_update(read=True))
        return forgot is not None and int(forgot) >= microseconds(at)


def _row_of(click: Click, landing: dict[str, Any] | None) -> dict[str, Any]:
    return {**dump_click(within(click, _SUB_IDS)), "at": click.at, "landing": landing}


def _click_of(row: Row[Any]) -> Click:
    values = {name: row._mapping[name] for name in Click.__slots__}
    return Click(**{**values, "sub_ids": tuple(values["sub_ids"])})


class Bucket:
    """At most `rate` a second, with a second's worth (but one at least) saved up."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(rate, 1.0) if rate else 0.0
        self._left = self._most
        self._at: datetime | None = None
        self._lock = Lock()

    def take(self, now: datetime) -> bool:
        """Say whether there is one left, and take it."""
        with self._lock:
            if self._at is not None:
                gained = (now - self._at).total_seconds() * self._rate
                self._left = min(self._most, self._left + max(gained, 0.0))
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


#: How many rows a process writes before it asks the database again.
_STEP = 1000
#: How long it does not ask when a day is full.
_REST = timedelta(minutes=1)
_ROUND = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}


class Quota:
    """At most so many rows with a time of one day (UTC)."""

    def __init__(self, rows: Table, most: int) -> None:
        self._rows = rows
        self.most = most
        self._day: datetime | None = None
        self._left = 0
        self._full_until: datetime | None = None
        self._lock = Lock()

    def take(self, connection: Connection, now: datetime) -> bool:
        """Say whether there is room for one more row, and count it."""
        with self._lock:
            day = now.replace(**_ROUND)  # type: ignore[arg-type]
            if day != self._day:
                self._day, self._left, self._full_until = day, 0, None
            if self._left == 0 and not self._ask(connection, day, now):
                return False
            self._left -= 1
            return True

    def count(self, connection: Connection, now: datetime) -> int:
        """Return how many rows there are of this day, up to what it takes."""
        return self._count(connection, now.replace(**_ROUND))  # type: ignore[arg-type]

    def _ask(self, connection: Connection, day: datetime, now: datetime) -> bool:
        if self._full_until is not None and now < self._full_until:
            return False
        self._left = min(_STEP, self.most - self._count(connection, day))
        self._full_until = None if self._left > 0 else now + _REST
        self._left = max(self._left, 0)
        return self._left > 0

    def _count(self, connection: Connection, day: datetime) -> int:
        # Bounded: what is beyond the limit need not be counted.
        some = select(self._rows.c.id).where(self._rows.c.at >= day).limit(self.most)
        return connection.scalar(select(func.count()).select_from(some.subquery())) or 0


def spent_by(
    connection: Connection, tokens: Table, token: str, customer: str, now: datetime
) -> str | None:
    """Spend a click token on a customer, unless it is spent; return whose it is."""
    row = {"token": token, "customer": customer, "at": now}
    connection.execute(inserting_once(connection, tokens), row)
    whose = select(tokens.c.customer).where(tokens.c.token == token)
    return connection.scalar(as_committed(whose, connection))
