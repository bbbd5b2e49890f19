"""How long to wait after an attempt: exponential back-off with full jitter. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


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
