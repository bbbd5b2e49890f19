"""Threads of our own, and their waits.

*Threads* are daemons, and real ones where gevent makes greenlets of all others. A driver written in C
holds its thread while it waits for a lock of the database. As a greenlet it would hold every page of
the process, and perhaps the very page that is to release that lock.

A *waker* wakes a sleeping worker when there is something to do, and stops it.

A *write in a thread* lets a visitor's page wait for a moment and no longer. Neither a connect nor a
dead peer can be bounded from inside the call, nor can a lock that the page's own thread holds; so the
write goes on without the page.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from importlib import import_module
from queue import Full, SimpleQueue
from threading import Thread, get_native_id
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

#: The module that a process has loaded whose threads gevent has patched.
GEVENT = "gevent.monkey"


def start(run: Callable[[], object], name: str) -> Waker:
    """Run it in a daemon thread; return what is stopped once that has ended.

    Raises RuntimeError where none can be had.
    """
    ended, monkey = Waker(), patched()
    if monkey is not None:
        _here().start(run, ended, monkey.get_original("_thread", "start_new_thread"))
        return ended

    def until_ended() -> None:
        try:
            run()
        finally:
            ended.stop()

    Thread(target=until_ended, name=name, daemon=True).start()
    return ended


def at_end(close: Callable[[], object]) -> None:
    """Have it called at the end of the real thread of ours that this is under gevent, if it is one."""
    if (thread := _here().mine()) is not None:
        thread.belongings.append(close)


def queue() -> SimpleQueue[Any]:
    """Return a queue into such a thread: a greenlets' one would wake nobody in another thread."""
    own: SimpleQueue[Any] = _real("queue", "SimpleQueue")()
    return own


def lock() -> Any:
    """Return a lock that real threads share with pages. No greenlet may wait while it holds it."""
    return _real("_thread", "allocate_lock")()


def are_suspended() -> bool:
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


def patched() -> Any | None:
    """Return gevent's module that has patched this process's threads, if it has."""
    monkey = sys.modules.get(GEVENT)
    return monkey if monkey is not None and monkey.is_module_patched("threading") else None


def _real(module: str, name: str) -> Any:
    """Return what gevent has put something of its own in the place of, if it has."""
    monkey = patched()
    if monkey is None:
        return getattr(import_module(module), name)
    return monkey.get_original(module, name)


class _RealThread:
    """A real thread under gevent, and what it leaves behind, which is closed at its end."""

    def __init__(self, ended: Waker) -> None:
        self.ended = ended
        self.number: int | None = None
        self.hub: Any = None
        self.greenlet: Any = None
        self.belongings: list[Callable[[], object]] = []

    def begin(self) -> None:
        gevent = import_module("gevent")
        self.number, self.greenlet = get_native_id(), gevent.getcurrent()
        self.hub = gevent.get_hub()

    def leave(self) -> None:
        """Have it leave what it waits for in its hub: now, or when it waits there next."""
        if self.hub is not None:
            self.hub.loop.run_callback_threadsafe(self.greenlet.throw, SystemExit)

    def close(self) -> None:
        for close in self.belongings:
            close()


class _RealThreads:
    """The real threads of one process under gevent, none of which outlives the interpreter.

    An interpreter that ends stops a thread where that wants to go on next. One that waited in its
    hub has frames of C++ on its stack, which do not survive this: the process ends by SIGSEGV. So
    each is made to leave its hub. One that a driver in C holds has no such frames, and stays.
    """

    #: How long the end of the process waits for them, and when it tells them again, in seconds.
    _FAREWELL, _AGAIN = 1.0, 0.01

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = lock()
        self._alive: list[_RealThread] = []
        self._ends = False

    def start(self, run: Callable[[], object], ended: Waker, new_thread: Any) -> None:
        # Made by two threads in one moment, hubs take the process with them, now or at its end.
        import_module("gevent").get_hub()
        thread = _RealThread(ended)
        with self._lock:
            if self._ends:
                raise RuntimeError("no new thread while the process ends")
            new_thread(self._run, (thread, run))
            self._alive.append(thread)

    def mine(self) -> _RealThread | None:
        """Return the one that this is; a site may have others."""
        number = get_native_id()
        return next((thread for thread in list(self._alive) if thread.number == number), None)

    def _run(self, thread: _RealThread, run: Callable[[], object]) -> None:
        try:
            with self._lock:
                thread.begin()
            try:
                run()
            finally:
                thread.close()
        finally:
            with self._lock:
                hub, thread.hub = thread.hub, None
            try:
                # Two files stay open for each hub that is not destroyed.
                hub.destroy(destroy_loop=True)
            finally:
                with self._lock:
                    self._alive.remove(thread)
                thread.ended.stop()

    def close(self) -> None:
        """Have them end, as far as they can."""
        with self._lock:
            self._ends = True
        # Counted in pauses: a host's tests may have stopped what counts seconds (freezegun).
        for _ in range(round(self._FAREWELL / self._AGAIN)):
            if not (alive := self._told()):
                break
            alive[0].ended.pause(self._AGAIN)

    def _told(self) -> list[_RealThread]:
        """Tell those that live, again and again: what they have to close may wait, too."""
        with self._lock:
            for thread in self._alive:
                thread.leave()
            return list(self._alive)


def apart() -> int | None:
    """Return the number of a real thread beside the one in which gevent runs the pages; else None.

    A socket that gevent made in one thread cannot be waited for in another.
    """
    if patched() is None or (number := get_native_id()) == os.getpid():
        return None
    return number


_threads = _RealThreads()


def _here() -> _RealThreads:
    """Return this process's: a fork begins with none."""
    global _threads
    if _threads.pid != os.getpid():
        _threads = _RealThreads()
    return _threads


# Registered first, it is called last: whoever started a thread waits for it before.
atexit.register(lambda: _here().close())


class Condition:
    """A condition that real threads and gevent's greenlets may wait for and tell.

    gevent's own locks, told from another thread, let a process hang at its end, or end by SIGSEGV. So
    the lock is a real one, held for moments only, and a pipe wakes those who wait as greenlets do.
    """

    def __init__(self) -> None:
        # Re-entrant, because a signal handler stops the very thread that may be in here.
        self._lock = _real("_thread", "RLock")()
        self._waiting: list[_Waiting] = []

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def notify_all(self) -> None:
        """Wake all who wait. Called within it, as `wait` and `wait_for` are."""
        woken, self._waiting = self._waiting, []
        for waiting in woken:
            waiting.wake()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until told, or until `seconds` are over; return whether it was told."""
        waiting = _InGreenlet() if _hub() is not None else _InThread()
        self._waiting.append(waiting)
        self._lock.release()
        try:
            waiting.wait(seconds)
        finally:
            self._lock.acquire()
            told = waiting not in self._waiting
            if not told:
                self._waiting.remove(waiting)
            waiting.close()
        return told

    def wait_for(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Wait until it is so, or until `seconds` are over; return whether it is."""
        end = monotonic() + seconds
        # Untold, all are over: a host's tests may have stopped what counts them (freezegun).
        while not is_so() and (left := end - monotonic()) > 0 and self.wait(left):
            pass
        return is_so()


def _hub() -> Any | None:
    """Return gevent's hub in this thread, if there is one: then others run while one waits."""
    return None if patched() is None else import_module("gevent._hub_local").get_hub_if_exists()


class _Waiting(Protocol):
    def wait(self, seconds: float | None) -> None: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


class _InThread:
    """A real thread that waits."""

    def __init__(self) -> None:
        self._lock = lock()
        self._lock.acquire()

    def wait(self, seconds: float | None) -> None:
        self._lock.acquire(True, -1 if seconds is None else max(seconds, 0.0))

    def wake(self) -> None:
        self._lock.release()

    def close(self) -> None:
        pass


class _InGreenlet:
    """A greenlet that waits, while the others of its thread run."""

    def __init__(self) -> None:
        self._reads, self._writes = os.pipe()

    def wait(self, seconds: float | None) -> None:
        gevent = import_module("gevent")
        with gevent.Timeout(seconds, False):
            import_module("gevent.socket").wait_read(self._reads)

    def wake(self) -> None:
        os.write(self._writes, b"!")

    def close(self) -> None:
        os.close(self._reads)
        os.close(self._writes)


#: Longest sleep of an idle worker, in seconds: how late work is found that nobody woke it for.
POLL = 5.0


class Waker:
    """Wakes a worker, or stops it: sleeping and stopping are one thing."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._woken = False
        self._interrupted = False
        self._stopped = False
        #: Whether commits of other processes wake it: then there is little to poll for.
        self.heard = False

    def wake(self) -> None:
        """There is something new to do."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def interrupt(self) -> None:
        """Look up: nothing is new, but what was under way has come to something."""
        with self._condition:
            self._interrupted = True
            self._condition.notify_all()

    def stop(self) -> None:
        """Finish what is in flight, and leave."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def woken(self) -> bool:
        """Whether there is something new that nobody has begun to look for."""
        return self._woken

    @property
    def stirred(self) -> bool:
        """Whether there is anything to look up for."""
        return self._woken or self._interrupted or self._stopped

    def look(self) -> None:
        """Begin to look for the work that it was woken for."""
        self._woken = self._interrupted = False

    def wait(self, seconds: float) -> bool:
        """Wait until woken, interrupted, stopped or `seconds` are over; return whether to stop."""
        with self._condition:
            if not self.stirred:
                self._condition.wait(seconds)
            return self._stopped

    def pause(self, seconds: float) -> bool:
        """Wait until stopped or `seconds` are over, whatever wakes it; return whether to stop."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopped, seconds)
            return self._stopped


#: The most that a page waits for a write, in seconds.
WAIT = 0.05

#: How many writes wait for their turn at most: while they are late, a new one comes once a pause.
_MOST = 100
#: How long the end of the process waits for them, in seconds.
_FAREWELL = 1.0

WrittenT = TypeVar("WrittenT")


class Written(Generic[WrittenT]):
    """A write in the thread, of which somebody wants to know how it ended."""

    def __init__(self, what: WrittenT) -> None:
        self.what = what
        self.error: Exception | None = None
        self._done = False
        self._changed = Condition()
        self._told: Callable[[Exception | None], object] | None = None

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, or `seconds` are over; return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._done, seconds)

    def end(self, error: Exception | None) -> None:
        """It is written, or failed with this."""
        with self._changed:
            self._done, self.error, told = True, error, self._told
            self._changed.notify_all()
        if told is not None:
            told(error)

    def tell(self, told: Callable[[Exception | None], object]) -> None:
        """Have it told how it ended: at once, if it has."""
        with self._changed:
            if not self._done:
                self._told = told
                return
        told(self.error)


class Late(Exception):
    """The time is up, and `write` goes on without the page."""

    def __init__(self, write: Written[Any]) -> None:
        super().__init__()
        self.write = write


class InThread(Generic[WrittenT]):
    """Writes one after the other in a daemon thread; the caller waits at most `WAIT` for it."""

    def __init__(self, name: str, write: Callable[[WrittenT], None]) -> None:
        self._write_one = write
        self._queue: SimpleQueue[Written[WrittenT] | None] = queue()
        self._pid = os.getpid()
        self._ended = start(self._run, name)
        atexit.register(self.close)

    def __call__(self, what: WrittenT) -> None:
        """Write it. Raises `Late` where that takes longer, and what the write raises."""
        if self._queue.qsize() >= _MOST:
            raise Full
        written = Written(what)
        self._queue.put(written)
        if not written.wait(WAIT):
            raise Late(written)
        if written.error is not None:
            raise written.error

    def close(self) -> None:
        """End the thread, which may write for a moment what it has."""
        atexit.unregister(self.close)
        if self._pid == os.getpid():
            self._queue.put(None)
            self._ended.pause(_FAREWELL)

    def _run(self) -> None:
        while (written := self._queue.get()) is not None:
            try:
                self._write_one(written.what)
            except Exception as error:  # noqa: BLE001 - the caller is told, the thread goes on
                written.end(error)
            else:
                written.end(None)
