"""The worker inside a web process, and the alarm of a process that has none.

The embedded worker is a daemon thread, so that a site with nothing else delivers. It starts with the
first request that a process serves (not at import: the process that imports the app is often not the
one that serves), and is made again after a fork. Nobody ever waits for its start: a lock that a fork
carried over, or that gevent's patching came too late for, would stop the whole process. Whatever it
fails with, it begins again, calmly; where no thread can be had, the next request or conversion asks
for one.

The stall alarm tells, in the web process, that nothing drains the outbox. With `S2S_WORKER =
"external"` a worker that was never started, or died, cannot tell of itself. So the processes that
write conversions look now and then whether anybody delivers them: in a thread of its own, at most
once a minute, and never in a visitor's way.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from .. import threads
from ..clock import Clock
from ..threads import Waker

log = logging.getLogger("flask_s2s.worker")

#: How long the end of the process waits for what is in flight, in seconds.
FAREWELL = 10.0


class EmbeddedWorker:
    """Runs `work(waker)` in a thread of this process, once it is asked to."""

    def __init__(self, work: Callable[[Waker], None], longest_pause: float = 30.0) -> None:
        """`work` returns when the waker says stop, or there is nothing for it to do in here.

        What fails begins again after `longest_pause` seconds at the latest.
        """
        self._work = work
        self._longest_pause = longest_pause
        self._starting: dict[int, Any] = {}
        self._pid = 0
        self._waker = Waker()
        #: Stopped, once the thread has ended.
        self._ended: Waker | None = None
        self._says_farewell = False
        #: Whether there is to be a thread in this process.
        self._wanted = False
        #: Until when no thread is asked for, because the last time there was none.
        self._rests_until = 0.0

    def ensure(self) -> bool:
        """Start the thread, unless it runs in this process already, or is being started.

        Returns False where no thread could be had: to be asked again.
        """
        pid = os.getpid()
        if self.alive:
            return True
        starting = self._starting.setdefault(pid, threads.lock())
        if not starting.acquire(blocking=False):
            return True
        try:
            return monotonic() >= self._rests_until and self._start(pid)
        finally:
            starting.release()

    def _start(self, pid: int) -> bool:
        # Not the thread itself is asked: gevent, patching late, leaves one that has ended "alive".
        self._pid, self._waker = pid, waker = pid, Waker()
        self._wanted = True
        try:
            self._ended = threads.start(lambda: self._run(waker), "s2s-worker")
        except (RuntimeError, MemoryError) as error:
            self._ended = None
            self._rests_until = monotonic() + 1.0
            _complain(error, 1.0)
            return False
        if not self._says_farewell:
            # A fork carries it over.
            self._says_farewell = True
            atexit.register(self.stop)
        return True

    def _run(self, waker: Waker) -> None:
        seconds = 1.0
        while not waker.stopped:
            try:
                self._work(waker)
                self._wanted = False
                return
            except Exception as error:  # noqa: BLE001 - told, and tried again
                seconds = min(seconds, self._longest_pause)
                _complain(error, seconds)
                waker.pause(seconds)
                seconds *= 2

    @property
    def alive(self) -> bool:
        """Whether the thread runs in this process."""
        ended = self._ended
        return self._pid == os.getpid() and ended is not None and not ended.stopped

    def wake(self) -> None:
        """There is something to do. Begins again what could not be begun."""
        # The waker of a parent may have been in use when it forked.
        if self._pid == os.getpid():
            if self._wanted and not self.alive:
                self.ensure()
            self._waker.wake()

    def stop(self, seconds: float = FAREWELL) -> None:
        """Finish what is in flight, give the rest back, and end the thread."""
        if self._pid != os.getpid():
            return
        self._wanted = False
        self._waker.stop()
        if self._ended is not None and not self._ended.pause(seconds):
            log.warning(
                "s2s.worker.left: an answer did not come within %.0f s of the end; what is in "
                "flight is sent again when its lease has run out",
                seconds,
                extra={"action": "worker.left"},
            )


def _complain(error: Exception, seconds: float) -> None:
    log.error(
        "s2s.worker.not_started: %s; trying again in %.0f s",
        type(error).__name__,
        seconds,
        extra={"action": "worker.not_started"},
        exc_info=None if isinstance(error, RuntimeError | MemoryError) else error,
    )


def warn_of_suspended_threads() -> None:
    """Say what to do, once for a server: where the app is loaded, or in the first of its workers."""
    if sys.modules["uwsgi"].worker_id() > 1:
        return
    log.warning(
        "s2s.worker.no_threads: uWSGI runs without threads, so nothing is delivered in here. Start it "
        'with --enable-threads, or set S2S_WORKER = "external" and run `flask s2s work`',
        extra={"action": "worker.no_threads"},
    )


_alarm = logging.getLogger("flask_s2s")

_EVERY = timedelta(minutes=1)
#: How long something due may wait, with no sign of a worker, before that is told.
SILENCE = timedelta(minutes=2)


def nobody_drains(oldest_due: datetime | None, worker_seen: datetime | None, now: datetime) -> bool:
    """Say whether work is overdue and no worker has been seen."""
    overdue = oldest_due is not None and now - oldest_due > SILENCE
    silent = worker_seen is None or now - worker_seen > SILENCE
    return overdue and silent


class StallAlarm:
    """Called after each commit of something due."""

    def __init__(
        self, clock: Clock, pulse: Callable[[], tuple[datetime | None, datetime | None]]
    ) -> None:
        """`pulse` tells since when work waits, and when a worker was seen."""
        self._clock = clock
        self._pulse = pulse
        self._looked: datetime | None = None

    def __call__(self) -> None:
        now = self._clock.now()
        if self._looked is None or abs(now - self._looked) >= _EVERY:
            self._looked = now
            threads.start(self.look, "s2s-watch")

    def look(self) -> None:
        """Look once, and tell."""
        try:
            oldest_due, worker_seen = self._pulse()
        except SQLAlchemyError:
            return
        if nobody_drains(oldest_due, worker_seen, self._clock.now()):
            _alarm.error(
                "s2s.outbox.stalled: deliveries are overdue and no worker has been seen. "
                "Start `flask s2s work`, or set S2S_WORKER to embedded",
                extra={"action": "outbox.stalled"},
            )
