"""Virtual time, and processes that take turns in one thread.

Each thread of each simulated process is a greenlet. It runs until it parks at a seam; the hub then
runs whoever is due next, so only the seed decides the order. Nobody is interrupted inside a
database transaction (SQLite would make the others wait there anyway), but may well die there.

An idle worker that polls finds nothing until the database says that something is due: such polls
are skipped, which changes nothing but the time that a history takes to play.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from math import ceil
from random import Random

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from flask_s2s.store.dialects.statements import EPOCH

SECOND = 1_000_000
#: The first moment of every history: 1 January 2026, in microseconds since 1970.
START = 1_767_225_600 * SECOND


class Killed(BaseException):
    """This process is dead: nothing it would still do may happen."""


@dataclass(slots=True, eq=False)
class Trouble:
    """A fault of a process that comes to a seam (any, or one by name) for the nth time."""

    label: str | None
    countdown: int
    #: Stall for that many seconds; None: something else befalls it.
    stall: float | None = None
    kill: bool = False
    error: Callable[[], Exception] | None = None


@dataclass(slots=True, eq=False)
class Process:
    """One operating system process: its clock's error, its threads, its fate."""

    name: str
    #: How far its machine's clock is off, in microseconds.
    skew: int = 0
    dead: bool = False
    tasks: list[Task] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    #: Told of its death.
    on_death: Callable[[], None] = lambda: None


class Task:
    """One thread of a process."""

    __slots__ = ("failures", "green", "parked", "process", "ticket")

    def __init__(self, process: Process, green: greenlet) -> None:
        self.process = process
        self.green = green
        self.parked = True
        #: Which of its entries in the schedule is valid.
        self.ticket = 0
        #: How often the database failed it.
        self.failures = 0


#: What idle processes look for.
_SORTS = ("sending", "verifying")
#: Where a database that is failing over says no.
_REFUSED = ("database.before", "database.commit")
#: While nothing can be delivered for longer than this, in microseconds, few polls are played.
_DULL = 120 * SECOND
#: Ticket, task, next poll, the time between two of them, and what for.
_Idle = tuple[int, Task, int, int, str]


class World:
    """One history's time and processes."""

    def __init__(self, seed: int, next_work: Callable[[str], int | None]) -> None:
        self.micros = START
        self.random = Random(seed)
        #: A connection that is inside a transaction, whoever's: nobody is interrupted then.
        self.writing: object | None = None
        #: Until when nothing can be delivered: idle processes look less often meanwhile.
        self.dull_until = 0
        #: How far the database server's clock is off, in microseconds; and whether it ever was.
        self.error, self.stepped = 0, False
        #: Until when the database takes nobody's statements.
        self.refused_until = 0
        #: At which seams processes died.
        self.deaths: Counter[str] = Counter()
        self._next_work = next_work
        self._heap: list[tuple[int, int, Task]] = []
        self._idle: list[_Idle] = []
        self._order = count(1)
        self._hub: greenlet = getcurrent()
        self._task: Task | None = None

    # -- time ---------------------------------------------------------------------------------

    def now(self) -> datetime:
        return EPOCH + timedelta(microseconds=self.micros)

    def monotonic(self) -> float:
        return self.micros / SECOND

    # -- processes ----------------------------------------------------------------------------

    def spawn(self, process: Process, work: Callable[[], None], delay: float = 0.0) -> Task:
        """Let a process run `work` in a thread of its own."""

        def run() -> None:
            try:
                if not process.dead:
                    work()
            except Killed:
                pass
            finally:
                process.tasks.remove(task)

        task = Task(process, greenlet(run, self._hub))
        process.tasks.append(task)
        self._schedule(task, delay)
        return task

    def kill(self, process: Process) -> None:
        """End a process here and now."""
        process.dead = True
        for task in process.tasks:
            if task is not self._task:
                self.wake(task)
        process.on_death()

    @property
    def task(self) -> Task | None:
        """The running task; None: the hub, which is nobody."""
        return self._task

    def park(self, seconds: float, *, polling: str = "") -> None:
        """Let time pass for the running task, until then or until it is woken.

        `polling`: it looks for work of that sort every so many seconds, and can find none before
        the database has some.
        """
        task = self._task
        assert task is not None
        if task.process.dead:
            raise Killed
        self._schedule(task, seconds, polling)
        task.parked = True
        self._hub.switch()
        if task.process.dead:
            raise Killed

    def wake(self, task: Task) -> None:
        """Let a parked task go on now."""
        if task.parked:
            self._schedule(task, 0.0)

    def seam(self, label: str, *, interrupts: bool = True) -> None:
        """The running process does something that others, time or fate may come between."""
        task = self._task
        if task is None:
            return
        process = task.process
        if process.dead:
            raise Killed
        if label in _REFUSED and self.micros < self.refused_until:
            task.failures += 1
            raise sqlite3.OperationalError("the server takes no writes")
        if process.troubles:
            self._befall(task, label, interrupts)
        if interrupts and self.writing is None:
            seconds = self.random.random() * 0.002
            self.micros += int(seconds * SECOND)
            if self._heap and self._heap[0][0] <= self.micros:
                self.park(0.0)

    def _befall(self, task: Task, label: str, interrupts: bool) -> None:
        process = task.process
        for trouble in list(process.troubles):
            if trouble.label is not None and trouble.label != label:
                continue
            trouble.countdown -= 1
            if trouble.countdown > 0:
                continue
            if trouble.kill:
                self.deaths[label] += 1
                self.kill(process)
                raise Killed
            if trouble.error is not None:
                if label.startswith("database."):
                    task.failures += 1
                    process.troubles.remove(trouble)
                    raise trouble.error()
            elif interrupts and self.writing is None:
                process.troubles.remove(trouble)
                self.park(trouble.stall or 0.0)

    def end(self) -> None:
        """Take down whoever is still there."""
        waiting = [entry[2] for entry in self._heap] + [entry[1] for entry in self._idle]
        for task in waiting:
            task.process.dead = True
            if not task.green.dead:
                self._task = task
                task.green.switch()
                self._task = None

    # -- the hub ------------------------------------------------------------------------------

    def run(self, until: int, done: Callable[[], bool] = lambda: False) -> None:
        """Run whoever is due, up to that moment or until `done`, asked whenever time passes."""
        while not done():
            busy = self._next_busy()
            idle, at = self._next_idle(until if busy is None else min(busy, until))
            if idle is not None:
                self._idle.remove(idle)
                task = idle[1]
            elif busy is not None and busy <= until:
                at, _, task = heapq.heappop(self._heap)
            else:
                self.micros = max(self.micros, until)
                return
            self.micros = max(self.micros, at)
            task.parked = False
            task.ticket = 0
            self._task = task
            task.green.switch()
            self._task = None

    def _next_busy(self) -> int | None:
        heap = self._heap
        while heap and (heap[0][1] != heap[0][2].ticket or heap[0][2].green.dead):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _next_idle(self, before: int) -> tuple[_Idle | None, int]:
        """Return who polls next, and when: the first poll before `before` that finds anything."""
        idle = self._idle = [one for one in self._idle if one[0] == one[1].ticket]
        first, at = None, before
        for sort in {one[4] for one in idle if one[2] < before}:
            work = self._next_work(sort)
            swept = self.stepped and any(self._next_work(one) is not None for one in _SORTS)
            for one in idle:
                if one[4] != sort:
                    continue
                # It may lie too far ahead: maintenance finds that, and each comes every five minutes.
                soon = one[2] + 300 * SECOND if swept else work
                if soon is None:
                    continue
                soonest = max(soon if work is None else min(work, soon), self.micros)
                if self.dull_until - self.micros > _DULL:
                    soonest = max(soonest, self.micros + (self.dull_until - self.micros) // 10)
                if (poll := _poll_from(one, soonest)) < at:
                    first, at = one, poll
        return first, at

    def _schedule(self, task: Task, seconds: float, polling: str = "") -> None:
        ticket = task.ticket = next(self._order)
        span = ceil(seconds * SECOND)
        if polling and span:
            self._idle.append((ticket, task, self.micros + span, span, polling))
        else:
            heapq.heappush(self._heap, (self.micros + span, ticket, task))


def _poll_from(idle: _Idle, soonest: int) -> int:
    at, step = idle[2:4]
    return at if at >= soonest else at + -(-(soonest - at) // step) * step
