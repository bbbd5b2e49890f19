"""The back-off after an attempt, and the rule of the circuit breaker. Pure.

The back-off is exponential, with full jitter, until the deadline.

The breaker tells a network that fails from one that fails some of what it is given. One delivery that
always gets a 500 says nothing of the others. So, as long as something of the lane was answered lately,
only first tries count: a network that fails fails those as well. Where nothing was for a while,
everything counts. The breaker opens after many such failures in a row; the lane is then probed with
the delivery that was tried least, the newest first, because that tells most.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

#: The longest pause between two looks for a record at the network.
LONGEST_WAIT = timedelta(days=1)


def longest_pause(lease: timedelta) -> float:
    """Return how long at most is waited for a database before it is tried again, in seconds.

    When it is back, what somebody left has its turn within one lease.
    """
    return min(lease.total_seconds() / 6, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Attempt number -> wait. There is no largest number of attempts: the deadline ends it."""

    #: Upper bound of the first wait.
    initial: timedelta = timedelta(seconds=2)
    #: Upper bound of every wait.
    maximum: timedelta = timedelta(hours=1)
    factor: float = 2.0
    #: Longest wait that a network may ask for with `Retry-After`.
    longest_asked: timedelta = timedelta(hours=1)

    def wait(self, attempt: int, jitter: float, asked: timedelta | None = None) -> timedelta:
        """Return the wait after attempt number `attempt` (from 1). `jitter` is in [0, 1).

        What the network asked for is a lower bound, itself capped.
        """
        # 2.0 ** 1024 overflows; far before that the bound is `maximum` anyway.
        exponent = min(max(attempt, 1) - 1, 64)
        bound = min(self.initial.total_seconds() * self.factor**exponent, 1e9)
        seconds = min(bound, self.maximum.total_seconds()) * jitter
        wait = timedelta(seconds=max(seconds, 0.05))
        if asked is not None:
            wait = max(wait, min(asked, self.longest_asked))
        return wait


#: So many failures in a row.
TOO_MANY = 20
#: For how long an answer shows that the network works.
LATELY = timedelta(minutes=5)


class FailureRule:
    """One process's memory of each lane's answers and failures."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()
        self._answered: dict[str, datetime] = {}

    def trips(self, lane: str, *, failed: bool, tries: int, now: datetime) -> bool:
        """Take how one try went, the delivery's so manieth; say whether the lane is to be paused."""
        if not failed:
            self._answered[lane] = now
            del self._failures[lane]
            return False
        answered = self._answered.get(lane)
        works = answered is not None and abs(now - answered) < LATELY
        if works and tries > 1:
            return False
        self._failures[lane] += 1
        if self._failures[lane] < TOO_MANY:
            return False
        del self._failures[lane]
        return True
