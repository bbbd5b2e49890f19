"""Playing a history to its end."""

from __future__ import annotations

import gc
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.database import Database, Seams
from tests.simulation.events import (
    Backup,
    Event,
    Failing,
    Failover,
    History,
    Outage,
    Record,
    Step,
    Strike,
)
from tests.simulation.invariants import broken_promises, orphans, still_orphans
from tests.simulation.network import Fault, ModelNetwork
from tests.simulation.site import Told, WebProcess, WorkerProcess
from tests.simulation.threads import seated
from tests.simulation.world import SECOND, START, Process, Trouble, World

#: How long all is well at the end before something that is left counts as stuck, in microseconds.
_PATIENCE = 20 * 86400 * SECOND
_WEBS = 2


@dataclass(slots=True)
class Played:
    """The result of a history."""

    violations: list[str]
    deaths: Counter[str]
    requests: int
    deliveries: int
    attempts: int
    statuses: Counter[str] = field(default_factory=Counter)


class Play:
    """One history on its way."""

    def __init__(self, history: History, database: Database) -> None:
        self._history = history
        self._database = database
        self.world = World(history.seed, database.next_work)
        self.network = ModelNetwork(
            self.world, second_reward=history.second_reward, lag=history.lag
        )
        for customer in history.older:
            self.network.knows(customer)
        self.told: dict[int, Told] = {}
        self._slots: list[Any] = [None] * len(history.skews)
        self._calm = False
        #: Customers of whom a restored database does not know all that was done.
        self.forgotten: set[str] = set()

    def run(self) -> Played:
        world, events = self.world, self._history.events
        Seams.world = world
        try:
            with seated(world):
                try:
                    violations = self._play(events)
                finally:
                    # In here: what still waits would wait in real time outside.
                    world.end()
        finally:
            Seams.world = None
        violations += broken_promises(
            self._database, self._history, self.network.ledger, self.told, self.forgotten
        )
        return self._played(violations)

    def _play(self, events: Sequence[Event]) -> list[str]:
        world = self.world
        for slot in range(len(self._slots)):
            self._start(slot)
        for event in events:
            world.run(max(START + int(event.at * SECOND), world.micros))
            self._happen(event)
        return self._calm_down()

    def _played(self, violations: list[str]) -> Played:
        statuses = self._database.rows("SELECT status, attempts FROM s2s_delivery")
        return Played(
            violations=violations,
            deaths=self.world.deaths,
            requests=sum(self.network.ledger.reached.values()),
            deliveries=len(statuses),
            attempts=sum(row["attempts"] for row in statuses),
            statuses=Counter(row["status"] for row in statuses),
        )

    # -- what happens -------------------------------------------------------------------------

    def _happen(self, event: Event) -> None:
        match event:
            case Record():
                self._record(event)
            case Strike():
                self._strike(event)
            case Failing(sort=sort, how=how, times=times):
                self.network.faults.append(Fault(sort, how, times))
            case Outage():
                self._begin(event)
            case Step():
                self._step(event)
            case Backup():
                self._back_up(event)
            case Failover():
                self.world.refused_until = self.world.micros + int(event.seconds * SECOND)

    def _back_up(self, event: Backup) -> None:
        database, kept = self._database, self._database.backup()
        recorded = {row["record"] for row in kept["sim_truth"]}
        ended = {
            number
            for number, told in self.told.items()
            if told.stored or (told.seconds is not None and number in recorded)
        }

        def restore() -> None:
            self.world.park(event.after)
            while self.world.writing is not None:
                self.world.park(0.01)
            begun = [told.event for number, told in self.told.items() if number not in ended]
            self.forgotten |= {record.customer for record in begun}
            database.restore(kept)

        _spawned(self.world, "restore", restore)

    def _step(self, event: Step) -> None:
        world = self.world
        world.error, world.stepped = int(event.by * SECOND), True

        def end() -> None:
            world.park(event.seconds)
            world.error = 0

        _spawned(world, "clock", end)

    def _record(self, event: Record) -> None:
        web: WebProcess = self._slots[event.number % _WEBS]
        told = self.told[event.number] = Told(event)
        self.world.spawn(web.process, lambda: web.serve(event, told))

    def _strike(self, event: Strike) -> None:
        slot = event.victim % len(self._slots)
        process: Process = self._slots[slot].process
        trouble = Trouble(event.label, event.countdown)
        if event.how == "kill":
            trouble.kill = True
            self._watch(slot, process, event.seconds)
        elif event.how == "stall":
            trouble.stall = event.seconds
        else:
            trouble.error = lambda: sqlite3.OperationalError("the database failed")
        process.troubles.append(trouble)

    def _watch(self, slot: int, process: Process, seconds: float) -> None:
        """A supervisor: starts another one so many seconds after its death."""

        def replace() -> None:
            if self._slots[slot].process is process:
                self._start(slot)

        delay = 0.0 if slot < _WEBS else seconds
        process.on_death = lambda: _spawned(self.world, "supervisor", replace, delay)

    def _begin(self, event: Outage) -> None:
        network, world = self.network, self.world
        if event.how == "revoked":
            network.revoked.add(event.host)
        else:
            network.down[event.host] = event.how
        world.dull_until = max(world.dull_until, world.micros + int(event.seconds * SECOND))

        def end() -> None:
            world.park(event.seconds)
            network.revoked.discard(event.host)
            network.down.pop(event.host, None)

        _spawned(world, "outage", end)

    def _start(self, slot: int) -> None:
        kind = "web" if slot < _WEBS else "worker"
        process = Process(f"{kind} {slot}", skew=int(self._history.skews[slot] * SECOND))
        if kind == "web":
            self._slots[slot] = WebProcess(self.world, process, self._database, self._wake)
        else:
            self._slots[slot] = WorkerProcess(self.world, process, self._database, self.network)

    def _wake(self) -> None:
        if self._history.wakes:
            for worker in self._slots[_WEBS:]:
                if worker is not None and not worker.process.dead:
                    worker.waker.wake()

    # -- the end ------------------------------------------------------------------------------

    def _calm_down(self) -> list[str]:
        """Let all be well, and see that everything comes to its end, in time."""
        world = self.world
        world.run(max(world.dull_until, world.micros + 10 * SECOND))
        self._calm = True
        world.error = world.refused_until = 0
        self.network.heal()
        for slot, one in enumerate(self._slots):
            one.process.troubles.clear()
            if one.process.dead:
                self._start(slot)
        if violations := self._resume_orphans():
            # Whoever looks for one of these again and again would be played for twenty days.
            return violations
        world.run(world.micros + _PATIENCE, self._is_idle)
        return [] if self._is_idle() else ["something is stuck"]

    def _resume_orphans(self) -> list[str]:
        """A dead worker's leases are taken up within one lease and one poll."""
        held = orphans(self._database)
        if held:
            # A second for claiming one after the other, a stall, and the last slow answers.
            patience = 5 + 1 + 300 + 20
            until = max(self.world.micros, *(row["due_at"] for row in held))
            if self.world.stepped:
                # One of a clock that was ahead is found within five minutes, and gets a lease again.
                until = min(until, self.world.micros + 360 * SECOND)
            self.world.run(until + patience * SECOND)
        return still_orphans(self._database, held)

    def _is_idle(self) -> bool:
        if any(one.process.tasks for one in self._slots[:_WEBS]):
            return False
        return all(self._database.next_work(sort) is None for sort in ("sending", "verifying"))


def _spawned(world: World, name: str, work: Callable[[], None], delay: float = 0.0) -> None:
    world.spawn(Process(name), work, delay)


def play(history: History, database: Database) -> Played:
    """Play a history on an emptied database."""
    database.empty()
    running = Play(history, database)
    # Collecting in the middle would close what another history has left, at any moment.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return running.run()
    finally:
        if collecting:
            gc.enable()


def quieten() -> None:
    """Thousands of histories of failures would fill any log."""
    logging.getLogger("flask_s2s").setLevel(logging.CRITICAL + 1)
