"""What a worker waits on: rung when there is something to do, and to stop."""

from __future__ import annotations

from threading import Condition, RLock

#: Longest sleep of an idle worker, in seconds: how late work is found that nobody rang for.
POLL = 5.0


class Bell:
    """Wakes a worker, or stops it: sleeping and stopping are one thing."""

    def __init__(self) -> None:
        # Re-entrant, because a signal handler stops the very thread that may be in here.
        self._condition = Condition(RLock())
        self._rung = False
        self._nudged = False
        self._stopped = False

    def ring(self) -> None:
        """There is something new to do."""
        with self._condition:
            self._rung = True
            self._condition.notify_all()

    def nudge(self) -> None:
        """Look up: nothing is new, but what was under way has come to something."""
        with self._condition:
            self._nudged = True
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
    def rung(self) -> bool:
        """Whether there is something new that nobody has begun to look for."""
        return self._rung

    def heed(self) -> None:
        """Begin to look for what it rang for."""
        self._rung = self._nudged = False

    def wait(self, seconds: float) -> bool:
        """Wait until rung, nudged, stopped or `seconds` are over; return whether to stop."""
        with self._condition:
            if not (self._rung or self._nudged or self._stopped):
                self._condition.wait(seconds)
            return self._stopped

    def pause(self, seconds: float) -> bool:
        """Wait until stopped or `seconds` are over, deaf to ringing; return whether to stop."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopped, seconds)
            return self._stopped
