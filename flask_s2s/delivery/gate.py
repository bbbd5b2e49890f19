"""Lanes that are closed: every SQL statement about `s2s_gate`.

A lane is one network's one credential. When the network refuses the credential, thousands of rows
would each be refused alike; so the lane closes, and only a probe (one delivery, one at a time over
all processes) goes through until one succeeds. Nothing has to be resumed by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, case, delete, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from ..tables import Tables
from .rows import whole
from .settlement import Status

#: How the reason begins where it is the network that fails, not the credential.
PAUSED = "paused, the network fails:"
#: How long a closed lane waits between two probes.
PROBE_EVERY = timedelta(seconds=30)
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
    probe_at: datetime


class Gates:
    """The closed lanes of one database."""

    def __init__(self, engine: Callable[[], Engine], tables: Tables) -> None:
        self._engine = engine
        self._gates = tables.gate
        self._rows = tables.delivery
        self._closed = select(tables.gate).order_by(tables.gate.c.since)
        self._seen_closed: dict[str, str] = {}

    def closed(self) -> list[Closed]:
        """Return the closed lanes, oldest first."""
        with whole(self._engine()) as connection:
            closed = [Closed(**row) for row in connection.execute(self._closed).mappings()]
        self._seen_closed = {gate.lane: gate.reason for gate in closed}
        return closed

    def why_closed(self, lane: str) -> str | None:
        """Say why the lane was closed when last looked at: without asking the database."""
        return self._seen_closed.get(lane)

    def close(self, lane: str, reason: str, now: datetime) -> bool:
        """Close a lane; return whether it was open."""
        probe_at = now + PROBE_EVERY
        try:
            with self._engine().begin() as connection:
                row = {"lane": lane, "reason": reason[:64], "since": now, "probe_at": probe_at}
                connection.execute(insert(self._gates), row)
            return True
        except IntegrityError:
            return False

    def may_probe(self, lane: str, now: datetime) -> bool:
        """Take the right to send one delivery through a closed lane; nobody else has it then."""
        gates = self._gates
        due = update(gates).where(gates.c.lane == lane, gates.c.probe_at <= now)
        with self._engine().begin() as connection:
            return connection.execute(due.values(probe_at=now + PROBE_EVERY)).rowcount == 1

    def probe_soon(self, now: datetime) -> None:
        """Let every closed lane be tried at once: a process starts, perhaps with a new token."""
        gates = self._gates
        with self._engine().begin() as connection:
            connection.execute(update(gates).where(gates.c.probe_at > now).values(probe_at=now))

    def probe_again(self, lane: str, now: datetime) -> None:
        """The probe asked nothing of the network: the next one may go at once."""
        gates = self._gates
        with self._engine().begin() as connection:
            connection.execute(update(gates).where(gates.c.lane == lane).values(probe_at=now))

    def open(self, lane: str, now: datetime) -> bool:
        """Open a lane and send what was held in it; return whether it was closed."""
        rows = self._rows
        held = update(rows).where(rows.c.lane == lane, rows.c.status == Status.HELD.value)
        with self._engine().begin() as connection:
            if not connection.execute(
                delete(self._gates).where(self._gates.c.lane == lane)
            ).rowcount:
                return False
            apart, at_once = (literal(at, rows.c.due_at.type) for at in (now + _APART, now))
            due_at = case((rows.c.attempts > _OFTEN, apart), else_=at_once)
            connection.execute(held.values(status=Status.PENDING.value, due_at=due_at))
            return True
