"""Lanes: the next work in each, and their circuit breakers (`s2s_breaker`).

A lane is one network's one credential. When the network refuses the credential, thousands of rows
would each be refused alike; so its circuit breaker opens, and only a probe (one delivery, one at a
time over all processes) goes through until one succeeds. Nothing has to be resumed by hand, but for
what was paused by hand: no probe goes through that, and it ends when its time is over, or when
somebody resumes it.

A lane that rests may hold tens of thousands of due rows, for weeks. Leaving them out by `lane NOT IN
(...)` reads all of them each time; so each lane is asked for the first of its rows, by an index on
the lane and `due_at`. That is one look for each lane that there is, and there are few. No database
does it in the words of another.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    Update,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    not_,
    null,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from ...rules.states import QUEUED, Status
from ...signals import lane_closed, lane_opened
from ..database.storage import Storage
from ..dialects.servers import any_key
from ..dialects.statements import has_lateral, least, unindexed
from ..row_locks import update_free


class Lanes:
    """The lanes of one database's deliveries."""

    def __init__(self, rows: Table) -> None:
        self._all = _all(rows)
        self._step = _step(rows)

    def soonest(self, connection: Connection, closed: Container[str]) -> list[tuple[datetime, str]]:
        """Return when each lane that is not closed has something due next, the soonest first."""
        if has_lateral(connection):
            found = list(connection.execute(self._all))
        else:
            found = self._one_by_one(connection)
        return sorted((due, lane) for lane, due in found if due is not None and lane not in closed)

    def _one_by_one(self, connection: Connection) -> list[Any]:
        found: list[Any] = []
        lane: str | None = ""
        while lane is not None:
            due, following = connection.execute(self._step, {"its_lane": lane}).one()
            found.append((lane, due))
            lane = following
        return found


def _step(rows: Table) -> Select[Any]:
    """Select when a lane is due, and which lane follows.

    Both of a lane that is given: MariaDB reads an index to its end for one that is found.
    """
    lane: Any = bindparam("its_lane", type_=rows.c.lane.type)
    first = least(rows.c.due_at, rows.c.lane == lane).scalar_subquery()
    following = select(func.min(rows.c.lane)).where(rows.c.lane > lane).scalar_subquery()
    return select(first, following)


def _all(rows: Table) -> Select[Any]:
    """Select each lane, and when it is due: in PostgreSQL's index NULL is the last of a lane."""
    start = select(
        literal("", rows.c.lane.type).label("lane"),
        cast(null(), rows.c.due_at.type).label("due_at"),
    )
    lanes = start.cte("lanes", recursive=True)
    after = select(rows.c.lane, rows.c.due_at).where(rows.c.lane > lanes.c.lane)
    one = after.order_by(rows.c.lane, rows.c.due_at).limit(1).lateral("one")
    each = lanes.union_all(
        select(one.c.lane, one.c.due_at).select_from(lanes.join(one, literal(True)))
    )
    return select(each.c.lane, each.c.due_at)


#: How the reason begins where it is the network that fails, not the credential.
PAUSED = "paused, the network fails:"
#: How the reason begins where an operator paused it.
BY_HAND = "paused by hand"
#: The probe's time of what is paused until somebody resumes it.
UNTIL_RESUMED = datetime(9999, 1, 1, tzinfo=timezone.utc)
#: How long a closed lane waits between two probes.
PROBE_EVERY = timedelta(seconds=30)
#: How late a busy worker learns that another one has closed a lane.
_LATE = timedelta(seconds=0.5)
#: A paused one is probed as long again after it was paused as it has been, from so soon on.
_SOON = timedelta(seconds=2)
#: A delivery that was tried more often while others of its lane pass is itself the trouble, and is
#: left alone for so long: it would close the lane again at once.
_OFTEN = 3
_APART = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A closed lane: why, since when, and when it is tried again."""

    lane: str
    reason: str
    since: datetime
    #: When it is probed next; of what was paused by hand, when it opens.
    probe_at: datetime

    @property
    def by_hand(self) -> bool:
        """Whether an operator paused it."""
        return self.reason.startswith(BY_HAND)

    @property
    def for_a_time(self) -> bool:
        """Whether an operator paused it, and it opens by itself."""
        return self.by_hand and not self.endless

    @property
    def endless(self) -> bool:
        """Whether it stays closed until somebody resumes it."""
        return self.probe_at >= UNTIL_RESUMED


class CircuitBreakers:
    """The closed lanes of one database."""

    def __init__(
        self,
        storage: Storage,
        tell: Callable[..., None] = lambda signal, **facts: None,
    ) -> None:
        """`tell` sends a signal: of each lane that is closed or opened here."""
        self._signal = tell
        self._storage = storage
        self._breakers = storage.tables.breaker
        self._rows = storage.tables.delivery
        self._closed = select(storage.tables.breaker).order_by(storage.tables.breaker.c.since)
        self._seen_closed: dict[str, str] = {}
        #: When all lanes were seen open.
        self._all_open_at: datetime | None = None

    def closed(self, now: datetime | None = None) -> list[Closed]:
        """Return the closed lanes, oldest first; with `now`, `lately_closed` remembers if none is."""

        def look(connection: Connection) -> list[Closed]:
            return [Closed(**row) for row in connection.execute(self._closed).mappings()]

        closed = self._storage.read(look)
        self._seen_closed = {one.lane: one.reason for one in closed} if closed else {}
        self._all_open_at = None if closed else now
        return closed

    def trying_since(self) -> dict[str, datetime]:
        """Return since when what is open in each lane, and was tried, is tried in vain."""
        rows = self._rows
        lane = unindexed(rows.c.lane)
        found = (
            select(lane.label("lane"), func.min(rows.c.created_at).label("since"))
            .where(rows.c.due_at.is_not(None), rows.c.status.in_(QUEUED), rows.c.attempts > 0)
            .group_by(lane)
        )
        with self._storage.connect() as connection:
            return {row.lane: row.since for row in connection.execute(found)}

    def lately_closed(self, now: datetime) -> list[Closed]:
        """Return the same, half a second late at most where no lane was closed."""
        if self._all_open_at is not None and abs(now - self._all_open_at) < _LATE:
            return []
        return self.closed(now)

    def why_closed(self, lane: str) -> str | None:
        """Say why the lane was closed when last looked at: without asking the database."""
        return self._seen_closed.get(lane)

    def close(self, lane: str, reason: str, now: datetime) -> bool:
        """Close a lane; return whether it was open."""
        self._all_open_at = None
        probe_at = now + _pause(reason, now, now)
        try:
            row = {"lane": lane, "reason": reason[:64], "since": now, "probe_at": probe_at}
            self._storage.write(lambda connection: connection.execute(insert(self._breakers), row))
        except IntegrityError:
            return False
        self._signal(lane_closed, lane=lane, reason=reason)
        return True

    def may_probe(self, closed: Closed, now: datetime) -> bool:
        """Take the right to send one delivery through a closed lane; nobody else has it then."""
        breakers, again = self._breakers, now + _pause(closed.reason, closed.since, now)
        due = self._own().where(breakers.c.lane == closed.lane, breakers.c.probe_at <= now)
        return self._update(due.values(probe_at=again)) == 1

    def probe_soon(self, now: datetime) -> None:
        """Let every closed lane be tried at once: a process starts, perhaps with a new token."""
        breakers = self._breakers
        self._update(self._own().where(breakers.c.probe_at > now).values(probe_at=now))

    def pull_in(self, now: datetime) -> int:
        """Let lanes be tried that a wrong clock has put off; return how many."""
        breakers = self._breakers
        far = self._own().where(breakers.c.probe_at > now + 2 * PROBE_EVERY)
        return self._update(far.values(probe_at=now))

    def probe_again(self, lane: str, now: datetime) -> None:
        """The probe asked nothing of the network: the next one may go at once."""
        breakers = self._breakers
        self._update(self._own().where(breakers.c.lane == lane).values(probe_at=now))

    def pause(self, lane: str, why: str | None, until: datetime | None, now: datetime) -> None:
        """Close a lane by hand, until then or until somebody resumes it; whatever had closed it."""
        reason = f"{BY_HAND}: {why}" if why else BY_HAND
        row = {"lane": lane, "reason": reason[:64], "since": now}
        row["probe_at"] = until or UNTIL_RESUMED
        changed = update(self._breakers).where(self._breakers.c.lane == lane).values(row)
        while not self._update(changed):
            try:
                self._storage.write(
                    lambda connection: connection.execute(insert(self._breakers), row),
                )
                return
            except IntegrityError:
                pass  # another process has closed it in the same moment

    def resume(self, lane: str, now: datetime) -> bool:
        """Open a lane by hand, whatever closed it; return whether it was closed."""
        return self._open(lane, now, self._breakers.c.lane == lane)

    def lapse(self, closed: Closed, now: datetime) -> None:
        """Open what was paused by hand and whose time is over."""
        breakers = self._breakers
        self._open(closed.lane, now, breakers.c.lane == closed.lane, breakers.c.probe_at <= now)

    def open(self, lane: str, now: datetime) -> bool:
        """Open a lane that works again; return whether it was closed, and not by hand."""
        breakers = self._breakers
        return self._open(
            lane, now, breakers.c.lane == lane, not_(breakers.c.reason.startswith(BY_HAND))
        )

    def _open(self, lane: str, now: datetime, *which: ColumnElement[bool]) -> bool:
        """Open a lane and send what was held in it."""
        rows = self._rows
        held = (rows.c.lane == lane, rows.c.status == Status.HELD.value)
        apart, at_once = (literal(at, rows.c.due_at.type) for at in (now + _APART, now))
        due_at = case((rows.c.attempts > _OFTEN, apart), else_=at_once)
        freeing = update(rows).values(status=Status.PENDING.value, due_at=due_at)

        def opening(connection: Connection) -> bool:
            if not connection.execute(delete(self._breakers).where(*which)).rowcount:
                return False
            # One that a host holds stays held, and is tried when it is due.
            update_free(connection, rows, freeing, *held)
            return True

        was_closed = self._storage.write(opening)
        if was_closed:
            self._signal(lane_opened, lane=lane)
        return was_closed

    def _own(self) -> Update:
        """Change a lane that nobody has paused by hand."""
        breakers = self._breakers
        others = not_(breakers.c.reason.startswith(BY_HAND))
        return update(breakers).where(any_key(breakers.c.lane), others)

    def _update(self, statement: Update) -> int:
        return self._storage.write(lambda connection: connection.execute(statement).rowcount)


def _pause(reason: str, since: datetime, now: datetime) -> timedelta:
    """Return how long a lane that is closed since then waits for its next probe."""
    return min(max(now - since, _SOON), PROBE_EVERY) if reason.startswith(PAUSED) else PROBE_EVERY
