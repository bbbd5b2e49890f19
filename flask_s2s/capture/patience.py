"""What a visitor's page may wait for: a write in another thread, for a moment and no longer.

Neither a connect nor a dead peer can be bounded from inside the call, nor can a lock that the page's
own thread holds; so the write goes on without the page.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from queue import Queue
from threading import Thread
from typing import Generic, TypeVar

#: The most that a page waits for a write, in seconds.
WAIT = 0.05

WrittenT = TypeVar("WrittenT")


class Late(Exception):
    """The time is up, and `write` goes on without the page."""

    def __init__(self, write: Future[None]) -> None:
        super().__init__()
        self.write = write


class InThread(Generic[WrittenT]):
    """Writes one after the other in a daemon thread; the caller waits at most `WAIT` for it."""

    def __init__(self, name: str, write: Callable[[WrittenT], None]) -> None:
        self._write_one = write
        # Short: while writes are late, new ones come only once a pause.
        self._queue: Queue[tuple[WrittenT, Future[None]]] = Queue(100)
        Thread(target=self._run, name=name, daemon=True).start()

    def __call__(self, what: WrittenT) -> None:
        """Write it. Raises `Late` where that takes longer, and what the write raises."""
        written: Future[None] = Future()
        self._queue.put_nowait((what, written))
        try:
            written.result(WAIT)
        except FutureTimeoutError:
            raise Late(written) from None

    def _run(self) -> None:
        while True:
            what, written = self._queue.get()
            try:
                self._write_one(what)
                written.set_result(None)
            except Exception as error:  # noqa: BLE001 - the caller is told, the thread goes on
                written.set_exception(error)
