"""The worker inside a web process: a daemon thread, so that a site with nothing else delivers.

It starts with the first request that a process serves (not at import: the process that imports the
app is often not the one that serves), and is made again after a fork. Nobody ever waits for its
start: a lock that a fork carried over, or that gevent's patching came too late for, would stop the
whole process.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable
from threading import Event, Lock, Thread

from .bell import Bell

log = logging.getLogger("flask_s2s.worker")

#: How long the end of the process waits for what is in flight, in seconds.
FAREWELL = 10.0


class EmbeddedWorker:
    """Runs `work(bell)` in a thread of this process, once it is asked to."""

    def __init__(self, work: Callable[[Bell], None]) -> None:
        self._work = work
        self._starting: dict[int, Lock] = {}
        self._pid = 0
        self._bell = Bell()
        self._ended: Event | None = None
        self._says_farewell = False

    def ensure(self) -> None:
        """Start the thread, unless it runs in this process already, or is being started."""
        pid = os.getpid()
        if self.alive:
            return
        starting = self._starting.setdefault(pid, Lock())
        if not starting.acquire(blocking=False):
            return
        try:
            if not self.alive:
                self._start(pid)
        finally:
            starting.release()

    def _start(self, pid: int) -> None:
        # Not the thread itself is asked: gevent, patching late, leaves one that has ended "alive".
        self._pid, self._bell, self._ended = pid, Bell(), Event()
        run = (self._bell, self._ended)
        try:
            Thread(target=self._run, args=run, name="s2s-worker", daemon=True).start()
        except RuntimeError:
            self._ended.set()
            raise
        if not self._says_farewell:
            # A fork carries it over.
            self._says_farewell = True
            atexit.register(self.stop)

    def _run(self, bell: Bell, ended: Event) -> None:
        try:
            self._work(bell)
        finally:
            ended.set()

    @property
    def alive(self) -> bool:
        """Whether the thread runs in this process."""
        ended = self._ended
        return self._pid == os.getpid() and ended is not None and not ended.is_set()

    def ring(self) -> None:
        """There is something to do."""
        # The bell of a parent may have been in use when it forked.
        if self._pid == os.getpid():
            self._bell.ring()

    def stop(self, seconds: float = FAREWELL) -> None:
        """Finish what is in flight, give the rest back, and end the thread."""
        if self._pid != os.getpid():
            return
        self._bell.stop()
        if self._ended is not None and not self._ended.wait(seconds):
            log.warning(
                "s2s.worker.left: an answer did not come within %.0f s of the end; what is in "
                "flight is sent again when its lease has run out",
                seconds,
                extra={"action": "worker.left"},
            )


def threads_are_frozen() -> bool:
    """Say whether this is uWSGI without threads: there, none runs between two requests.

    A worker would stop in the middle of a transaction, and hold its locks until the next request.
    """
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None or not hasattr(uwsgi, "opt"):
        return False
    enabled = getattr(uwsgi, "has_threads", None)  # old releases do not tell
    if enabled is None:
        enabled = not uwsgi.opt.keys().isdisjoint(("enable-threads", "threads", "gevent"))
    return not enabled


def warn_of_frozen_threads() -> None:
    """Say what to do, once for a server: where the app is loaded, or in the first of its workers."""
    if sys.modules["uwsgi"].worker_id() > 1:
        return
    log.warning(
        "s2s.worker.frozen: uWSGI runs without threads, so nothing is delivered in here. Start it "
        'with --enable-threads, or set S2S_WORKER = "external" and run `flask s2s work`',
        extra={"action": "worker.frozen"},
    )
