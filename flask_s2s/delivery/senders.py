"""The threads that send.

Not a `ThreadPoolExecutor`: the interpreter's exit waits for its threads without a bound, before the
worker hears of the exit at all, and a network that holds an answer would hold the exit of the
site. These are daemon threads: how long to wait for an answer is the worker's to decide.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from threading import Semaphore, Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Senders(Generic[T]):
    """Up to `most` threads, started as they are needed. Only one thread may submit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._started = 0
        self._idle = Semaphore(0)
        # By its module's name: gevent may have replaced it after this module was imported.
        self._jobs: queue.SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = (
            queue.SimpleQueue()
        )

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run it in a thread. Raises RuntimeError when not even one thread can be had."""
        if not self._idle.acquire(blocking=False) and self._started < self._most:
            self._start()
        future: Future[T] = Future()
        self._jobs.put((future, lambda: function(*args)))
        return future

    def close(self) -> None:
        """Let the threads end, each once it has nothing to do. Waits for none of them."""
        for _ in range(self._started):
            self._jobs.put(None)

    def __enter__(self) -> Senders[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        try:
            Thread(target=self._serve, name="s2s-send", daemon=True).start()
            self._started += 1
        except RuntimeError:
            if not self._started:
                raise

    def _serve(self) -> None:
        while job := self._jobs.get():
            future, run = job
            try:
                future.set_result(run())
            except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
                future.set_exception(error)
            del job, future, run
            self._idle.release()
