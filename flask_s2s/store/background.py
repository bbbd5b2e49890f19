"""Writes of our own that a page waits for a moment for, and that go on without it.

Neither a connect nor a dead peer can be bounded from inside the call, nor can a lock that the page's
own thread holds. So each write runs in a thread, with the context of the request that asked for it;
the page waits for it as long as it may, and leaves. What it left behind is tried again and again,
each with pauses of its own, until it is written or the process ends. A write that is stuck (a peer
that never answers) stands in nobody's way: after a while another thread takes its place, and the
write is tried once more beside it.
"""

from __future__ import annotations

import atexit
import heapq
import logging
import os
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Generic, TypeVar

from sqlalchemy.exc import DataError, SQLAlchemyError

from .. import threads
from ..errors import StorageError, UsageError
from ..rules.delivery import Late, NotStored

log = logging.getLogger("flask_s2s")

T = TypeVar("T")

#: What may be over when a write is tried again. A row that the database cannot hold stays one.
PASSING = (SQLAlchemyError, StorageError, OSError)
#: Threads that write at once, and with those that are stuck.
_THREADS, _MOST_THREADS = 4, 16
#: When a write counts as stuck, in seconds, and how long a thread waits for the next one.
_STUCK, _IDLE = 30.0, 10.0
#: Writes that are tried again at most; what comes beyond them is lost.
MOST = 1000
#: How long the end of the process waits for the last ones, in seconds.
FAREWELL = 5.0


class _TimeUp(Exception):
    """The page goes on. `kept` says whether the write does, too."""

    def __init__(self, *, kept: bool) -> None:
        super().__init__(kept)
        self.kept = kept


def is_passing(error: BaseException) -> bool:
    """Say whether a write that failed with this is worth another try."""
    return isinstance(error, PASSING) and not isinstance(error, DataError)


#: Why a write was lost: no database took it until too many waited or the process ended, or none ever would.
LOST = ("away", "refused")


def why_lost(error: BaseException | None) -> str:
    """Return the reason for which a write was lost that had failed with this, of `LOST`."""
    away, refused = LOST
    return away if error is None or is_passing(error) else refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Write(Generic[T]):
    """One write, and the callback for its end where nobody waits for it any more."""

    #: Raises what the database raises. It may run twice: the second time it must do no harm.
    run: Callable[[], T]
    #: It is written after all.
    stored: Callable[[T], object] = field(default=lambda _: None)
    #: It never will be: for this error, or because the process ends.
    lost: Callable[[BaseException | None], object] = field(default=lambda _: None)


class _Job:
    """A write under way."""

    def __init__(self, write: Write[Any]) -> None:
        self.write = write
        self.context: Context = copy_context()
        #: Whether the page has left.
        self.left = False
        self.done = False
        #: How often it was tried, and how many tries are under way.
        self.tries = self.in_flight = 0
        #: Its place among what is due for another try.
        self.turn = -1
        self.result: Any = None
        self.error: BaseException | None = None


class _Process:
    """The writes and threads of one process: a fork begins with none."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.changed = threads.Condition()
        self.jobs: SimpleQueue[_Job | None] = threads.queue()
        self.idle = 0
        #: When each thread began its write (None: it has none).
        self.since: dict[int, float | None] = {}
        #: Each is stopped once its thread has ended.
        self.ends: dict[int, threads.Waker] = {}
        #: What nobody waits for any more, and what of it is due for another try, when.
        self.left: set[_Job] = set()
        self.again: list[tuple[float, int, _Job]] = []
        self.has_timer = False
        self.ended = False


class Background:
    """Runs the writes of one app."""

    def __init__(
        self, *, wait: float, inline: Callable[[], bool], longest_pause: float = 30.0
    ) -> None:
        """`wait` is the most that a page waits, in seconds; `inline`: whether no thread may write.

        Between two tries it pauses for `longest_pause` seconds at most.
        """
        self._wait = wait
        self._longest_pause = longest_pause
        #: Whether no thread may write.
        self.inline = inline
        self._now = _Process()
        self._numbers = count()
        self._says_farewell = False

    def _run(self, write: Write[T]) -> T:
        """Write it. Raises `_TimeUp` where that is longer than a page waits, and what it raises."""
        if self.inline():
            return write.run()
        process, job = self._process(), _Job(write)
        if not self._submit(process, job):
            return write.run()
        with process.changed:
            process.changed.wait_for(lambda: job.done, self._wait)
            if not job.done:
                raise _TimeUp(kept=self._leave(process, job))
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def patiently(
        self,
        write: Write[T],
        *,
        ready: Callable[[], object] = bool,
        late: Callable[[str], object],
        raises: Callable[[Exception], bool] = lambda error: False,
    ) -> T | Late | NotStored:
        """Write it as long as a page waits, and go on without the page.

        `ready` raises where a write of our own is in a caller's way. `late` is told why the page goes
        on. `raises` says which errors are the page's; of all others, what no other try mends is lost.
        """
        lost_for: Exception | None = None
        try:
            ready()
            return self._run(write)
        except _TimeUp as up:
            kept, why = up.kept, "no answer in time"
        except UsageError:
            raise
        except Exception as error:
            # Of whatever family: a page does not fail because of our own writes.
            if raises(error):
                raise
            kept, why = is_passing(error) and self.later(write), type(error).__name__
            lost_for = error
        if kept:
            late(why)
            return Late(why=why)
        write.lost(lost_for)
        return NotStored(why=why)

    def later(self, write: Write[Any], seconds: float | None = None) -> bool:
        """Try it again, without anybody who waits: it has failed with something that passes.

        After so many seconds, if said. Returns False where no thread may write, and where too many
        writes wait.
        """
        if self.inline():
            return False
        process, job = self._process(), _Job(write)
        job.tries = 1 if seconds is None else 0
        with process.changed:
            return self._leave(process, job, seconds)

    @property
    def pending(self) -> int:
        """How many writes are tried that nobody waits for any more."""
        return len(self._now.left)

    def close(self, seconds: float = FAREWELL) -> None:
        """Try once more what is left, for so long, and tell what is lost."""
        process, end = self._now, monotonic() + seconds
        if process.pid != os.getpid():
            return
        with process.changed:
            process.again = [(0.0, number, job) for _, number, job in process.again]
            process.changed.notify_all()
            process.changed.wait_for(lambda: not process.left, seconds)
            process.ended, lost = True, list(process.left)
            process.left.clear()
            process.changed.notify_all()
            ends = list(process.ends.values())
        self._now = _Process()
        for job in lost:
            job.done = True
            _tell(job, job.write.lost, job.error)
        for _ in ends:
            process.jobs.put(None)
        for ended in ends:
            ended.pause(max(end - monotonic(), 0.0))

    # -- the page's side ----------------------------------------------------------------------

    def _process(self) -> _Process:
        if self._now.pid != os.getpid():
            self._now = _Process()
        if not self._says_farewell:
            # A fork carries it over.
            self._says_farewell = True
            atexit.register(self.close)
        return self._now

    def _leave(self, process: _Process, job: _Job, seconds: float | None = None) -> bool:
        """Go on without the page; return whether there is room. Called with the process's lock held."""
        job.left = True
        if len(process.left) >= MOST:
            job.done = True
            return False
        process.left.add(job)
        if seconds is None:
            seconds = _STUCK if job.in_flight else self._pause(job)
        self._again(process, job, seconds)
        return True

    def _submit(self, process: _Process, job: _Job) -> bool:
        """Hand it to a thread; return whether there is one."""
        with process.changed:
            stuck = sum(1 for at in process.since.values() if at and monotonic() - at > _STUCK)
            room = len(process.since) < min(_THREADS + stuck, _MOST_THREADS)
            if process.jobs.qsize() >= process.idle and room:
                number = next(self._numbers)
                process.since[number] = None
                try:
                    process.ends[number] = threads.start(
                        lambda: self._serve(process, number), "s2s-record"
                    )
                except (RuntimeError, MemoryError):
                    del process.since[number]
                    if not process.since:
                        return False
            job.in_flight += 1
            process.jobs.put(job)
            return True

    # -- the threads' side --------------------------------------------------------------------

    def _serve(self, process: _Process, number: int) -> None:
        while True:
            try:
                with process.changed:
                    process.idle += 1
                job = process.jobs.get(timeout=_IDLE)
            except Empty:
                job = None
            with process.changed:
                process.idle -= 1
                if job is None:
                    if process.ended or process.jobs.empty():
                        del process.since[number], process.ends[number]
                        return
                    continue
                process.since[number] = monotonic()
            self._try(process, job)
            with process.changed:
                process.since[number] = None

    def _try(self, process: _Process, job: _Job) -> None:
        result, error = None, None
        if not job.done:
            try:
                result = job.context.copy().run(job.write.run)
            except BaseException as raised:  # noqa: BLE001 - whoever waits for it gets it
                error = raised
        with process.changed:
            job.in_flight -= 1
            job.tries += 1
            if job.done or process.ended:
                return
            if job.left and error is not None and is_passing(error):
                job.error = error
                self._again(process, job, self._pause(job))
                return
            job.done, job.result, job.error = True, result, error
            process.changed.notify_all()
            left = job.left
        if left:
            # Before the process may end: its logging has locks of gevent's.
            _tell(job, *((job.write.lost, error) if error else (job.write.stored, result)))
            with process.changed:
                process.left.discard(job)
                process.changed.notify_all()

    def _again(self, process: _Process, job: _Job, seconds: float) -> None:
        job.turn = next(self._numbers)
        heapq.heappush(process.again, (monotonic() + seconds, job.turn, job))
        process.changed.notify_all()
        if not process.has_timer:
            try:
                threads.start(lambda: self._watch(process), "s2s-record-again")
                process.has_timer = True
            except (RuntimeError, MemoryError):
                pass  # the next one that is left asks for a thread again

    def _watch(self, process: _Process) -> None:
        """Hand out what is due for another try, as long as there is any."""
        while True:
            with process.changed:
                while process.again and _is_over(*process.again[0]):
                    heapq.heappop(process.again)
                if not process.again or process.ended:
                    process.has_timer = False
                    return
                due, _, job = process.again[0]
                if (seconds := due - monotonic()) > 0:
                    process.changed.wait(seconds)
                    continue
                heapq.heappop(process.again)
                # Beside one that is stuck goes one more, and no third.
                again = job.in_flight < 2
                if job.in_flight:
                    self._again(process, job, _STUCK)
            if again and not self._submit(process, job):
                with process.changed:
                    self._again(process, job, self._pause(job))

    def _pause(self, job: _Job) -> float:
        return float(min(2 ** max(min(job.tries, 10) - 1, 0), self._longest_pause))


def _is_over(_: float, turn: int, job: _Job) -> bool:
    return job.done or job.turn != turn


def _tell(job: _Job, told: Callable[[Any], object], what: Any) -> None:
    try:
        job.context.copy().run(told, what)
    except Exception:
        log.exception("s2s.background.failed", extra={"action": "background.failed"})
