"""One clock for all, the database's; and a second witness of the time, before anything is given up.

A worker whose own clock is minutes off would steal leases that have not ended, or let deliveries
lie. So time is what the database server said, and what this machine's monotonic clock has counted
since: a machine's clock may be set at will. A process that writes asks again, once a minute, and the
worker with each heartbeat: a server's clock is corrected, too, and a machine that slept has counted
nothing.

A clock that jumps ahead for some seconds would let every deadline pass. So a deadline has passed
once this process has counted an hour since, by a clock that nobody can set; or once the network's
own clock agrees, which every answer of its tells (`Date`): to what was sent, and to what was asked.
So has the window of a click, where a conversion wants it, and so has the time of what is deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Protocol

from sqlalchemy import Connection, Engine, select, update

from ...clock import Clock, counting
from ..dialects.servers import has_a_clock, microseconds, whole
from ..dialects.statements import EPOCH, inserting_once
from ..dialects.statements import microseconds as as_microseconds
from .storage import Storage

#: How long an answer of the server's is good, in seconds.
_GOOD_FOR = 60.0
#: By how much the machine's two clocks may differ in between: one that slept counted nothing.
_SLEPT = timedelta(seconds=1)


class Machine(Protocol):
    """A machine's two clocks: one that may be set, and one that only counts."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's own clock."""

    # Looked up when called: a host's tests put another clock there (freezegun).
    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return the seconds counted since some moment; nobody can set that clock."""
        return time.monotonic()


class DatabaseClock:
    """The database server's time, as far as it has been measured."""

    def __init__(self, machine: Machine, storage: Storage) -> None:
        self._machine = machine
        #: The seconds that the machine has counted, whatever its clock was set to.
        self.monotonic = machine.monotonic
        self._storage = storage
        #: Whether the database has a clock of its own; None: nobody has looked.
        self._own: bool | None = None
        #: What the server said, and what the machine's two clocks said then.
        self._said: tuple[datetime, datetime, float] | None = None

    def now(self) -> datetime:
        said = self._said
        if said is None:
            return self._machine.now()
        theirs, _, counted = said
        return theirs + timedelta(seconds=self.monotonic() - counted)

    def measure(self) -> None:
        """Ask the database for its time. Raises what the database raises."""
        if self._own is not False and self._is_asked(engine := self._storage.engine()):
            with engine.connect() as connection:
                self._ask(connection)

    def refresh(self, connection: Connection) -> None:
        """Ask again on the connection of somebody who writes, unless the last answer is good."""
        if self._is_asked(connection) and not self._is_good():
            self._ask(connection)

    def _is_asked(self, bind: Engine | Connection) -> bool:
        if self._own is None:
            self._own = has_a_clock(bind)
        return self._own

    def _is_good(self) -> bool:
        if self._said is None:
            return False
        _, ours, counted = self._said
        since = self.monotonic() - counted
        slept = self._machine.now() - ours - timedelta(seconds=since)
        return since < _GOOD_FOR and slept < _SLEPT

    def _ask(self, connection: Connection) -> None:
        before = self.monotonic()
        theirs = EPOCH + timedelta(microseconds=microseconds(connection))
        after = self.monotonic()
        halfway = timedelta(seconds=(after - before) / 2)
        self._said = theirs + halfway, self._machine.now(), after


#: How long the clock must have run on beyond a deadline.
ENOUGH = timedelta(hours=1)
#: How long an answer's date is good, in seconds.
_DATE_GOOD_FOR = 86400.0
#: By how much the clock may drift from what is counted before it has jumped.
_DRIFT = timedelta(minutes=1)


class Witness:
    """One process's evidence of how much time has passed."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        #: What the clock said when it jumped last, or was first looked at, and what was counted then.
        self._since: tuple[datetime, float] | None = None
        #: Whether it has ever jumped: where the database's differs from the machine's own, too.
        self._jumped = False
        #: What the network's clock said, and what was counted then.
        self._heard: tuple[datetime, float] | None = None
        #: Up to when other processes know that the time has passed.
        self.told = EPOCH

    def look(self, now: datetime) -> datetime:
        """Look at the clock; return since when it has run without a jump."""
        counted = self._monotonic()
        if self._since is not None:
            first, then = self._since
            if abs(now - first - timedelta(seconds=counted - then)) <= _DRIFT:
                return first
            self._jumped = True
        self._since = now, counted
        return now

    def hear(self, date: datetime) -> None:
        """The network's clock says this."""
        self._heard = date, self._monotonic()

    def since(self, moment: datetime, now: datetime) -> timedelta:
        """Return how much time has passed for sure since a moment that is stored.

        One that lies ahead was stored by a clock that was ahead, before that was set right.
        """
        first = self.look(now)
        if moment > now:
            return now - first
        return max(now - max(moment, first), self._agreed(now) - moment)

    def passed(self, now: datetime, enough: timedelta = ENOUGH) -> datetime:
        """Return up to which moment the time has passed for sure."""
        last = now - enough if now - self.look(now) >= enough else EPOCH
        return max(last, self._agreed(now))

    def jumped(self, now: datetime) -> datetime | None:
        """Return when the clock jumped last, if it ever did."""
        since = self.look(now)
        return since if self._jumped else None

    def shut(self, now: datetime) -> datetime:
        """Return the moment by which the windows of clicks are judged: no browser's click is lost to a
        clock that has just jumped, or that nobody has watched for an hour.
        """
        return now if now - self.look(now) >= ENOUGH else self._agreed(now)

    def _agreed(self, now: datetime) -> datetime:
        return max(self.heard(now), min(now, self.told))

    def heard(self, now: datetime) -> datetime:
        """Return up to when the network's clock agrees, as this process has heard it."""
        if self._heard is None:
            return EPOCH
        date, then = self._heard
        since = self._monotonic() - then
        if since > _DATE_GOOD_FOR:
            return EPOCH
        # One at the end of the calendar has nothing behind it.
        return now if date >= now else min(now, date + timedelta(seconds=since))


@dataclass(frozen=True, slots=True)
class Times:
    """One app's clock, and its witness. Make them with `times_of`."""

    clock: Clock
    database: DatabaseClock
    witness: Witness

    def refresh(self, connection: Connection) -> None:
        """Look at the database's clock on a connection, where that clock is the app's."""
        if self.clock is self.database:
            self.database.refresh(connection)


def times_of(storage: Storage, clock: Clock | None) -> Times:
    """Return an app's: by the database's clock, where it has no other."""
    database = DatabaseClock(SystemClock(), storage)
    clock = clock or database
    witness = Witness(counting(clock))
    witness.look(clock.now())
    return Times(clock, database, witness)


#: The row of `s2s_meta` with what the processes tell each other.
_PASSED = "time_passed"
#: How much later something has to be to be told.
_NEWS = timedelta(hours=1)


class CommonTime:
    """The time that has passed for sure, as one process tells the next.

    One that cron starts, or that serves a request and is gone, counts no hour, and decides before an
    answer comes: alone, it would never find a window closed, and never delete anything.
    """

    def __init__(self, witness: Witness, storage: Storage) -> None:
        self._witness = witness
        self._storage = storage
        self._meta = storage.tables.meta

    def learn(self) -> None:
        """Ask what others told. Raises what the database raises."""
        named = select(self._meta.c.value).where(self._meta.c.name == _PASSED)
        with whole(self._storage.engine()) as connection:
            told = connection.scalar(named)
        if told is not None:
            self._witness.told = EPOCH + timedelta(microseconds=int(told))

    def share(self, now: datetime) -> None:
        """Tell what this process has heard, where it is news. Raises what the database raises."""
        heard = self._witness.heard(now)
        if heard - self._witness.told < _NEWS:
            return
        meta, told = self._meta, {"value": str(as_microseconds(heard))}
        again = update(meta).where(meta.c.name == _PASSED).values(told)

        def note(connection: Connection) -> None:
            if not connection.execute(again).rowcount:
                connection.execute(inserting_once(connection, meta), {"name": _PASSED, **told})

        self._storage.write(note)
        self._witness.told = heard
