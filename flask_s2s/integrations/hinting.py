"""Hinting at a task queue without making a page wait for it.

Hints leave from a thread of this process. While one is on its way, any number of further ones
become one, and a queue that cannot be reached costs one warning: a hint is never sent again.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable
from typing import Any

from .. import threads
from ..threads import Waker

log = logging.getLogger("flask_s2s.hint")

#: Pause after a hint that failed, and how long an unused connection is kept, in seconds.
_PAUSE = 5.0
#: How long the end of a process waits for a hint that is on its way, in seconds.
_FAREWELL = 1.0


class Hints:
    """Sends one message for any number of commits, from a thread of this process."""

    def __init__(self, connect: Callable[[], Any], send: Callable[[Any], None]) -> None:
        self._connect = connect
        self._send = send
        self._failing = False
        self._reset()
        if hasattr(os, "register_at_fork"):
            # The thread stays behind in the parent, and it may hold a lock at that moment.
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threads.lock()
        self._waker = Waker()
        #: Stopped, once the thread has ended.
        self._ended: Waker | None = None
        self._asked = False

    def ask(self) -> None:
        """Something is due. Returns at once whatever the broker does, and never raises."""
        self._asked = True
        self._waker.wake()
        if self._ended is None and self._lock.acquire(blocking=False):
            try:
                self._start()
            finally:
                self._lock.release()

    def _start(self) -> None:
        if self._ended is not None:
            return
        try:
            self._ended = threads.start(self._run, "s2s-hint")
        except RuntimeError:  # no more threads, or the interpreter is ending
            log.debug("s2s.hint.no_thread", extra={"action": "hint.no_thread"})
            return
        atexit.register(self.leave)

    def leave(self) -> None:
        """Send what was asked for, if the broker answers soon, and end the thread."""
        self._waker.stop()
        if self._ended is not None:
            self._ended.pause(_FAREWELL)

    def _run(self) -> None:
        connection, waker = None, self._waker
        while not waker.stopped or self._asked:
            waker.wait(_PAUSE)
            waker.look()
            if self._asked:
                # Before sending: what is committed from here on asks again.
                self._asked = False
                connection = self._try(connection)
            else:
                # A broker hangs up on a silent client, and the next message would vanish.
                _hang_up(connection)
                connection = None
        _hang_up(connection)

    def _try(self, connection: Any) -> Any:
        """Send one hint; return the connection if it is still good."""
        try:
            connection = connection or self._connect()
            self._send(connection)
        except Exception as error:  # noqa: BLE001 - brokers raise what they like
            level = logging.DEBUG if self._failing else logging.WARNING
            log.log(
                level,
                "s2s.hint.failed: %s; nothing is lost, the sweep delivers",
                type(error).__name__,
                extra={"action": "hint.failed"},
            )
            self._failing = True
            _hang_up(connection)
            self._waker.pause(_PAUSE)
            return None
        if self._failing:
            self._failing = False
            log.info("s2s.hint.works_again", extra={"action": "hint.works_again"})
        return connection


def _hang_up(connection: Any) -> None:
    if connection is not None:
        try:
            connection.close()
        except Exception as error:  # noqa: BLE001 - it is of no use to anybody any more
            log.debug("s2s.hint.close_failed: %s", type(error).__name__)
