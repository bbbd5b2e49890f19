"""The throttle of a worker's claims: free slots, shared between lanes, a rate, and rests.

Twice as many are claimed as are sent at once, so that no thread waits while finished ones are
settled. The second waits for one attempt, a quarter of a lease, and has another quarter for its own:
both fit what a claim holds. With a rate nothing is claimed ahead, or the waiting ones would go in a
burst. One slow lane must not take every slot: while more than one lane exists, a lane gets three
quarters. A lane rests where its network asked for that, whichever delivery it said it of.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

#: However long a network asks to be left alone.
_LONGEST_REST = timedelta(minutes=1)
#: How many are claimed for each that may be sent at once.
_AHEAD = 2


class Throttle:
    """Counts a worker's claimed deliveries, and bounds how many more it may claim now."""

    def __init__(self, concurrency: int, *, lanes: int = 1, rate: float | None = None) -> None:
        self._most = concurrency if rate else concurrency * _AHEAD
        self._lane_limit = _share(self._most, lanes)
        #: How many threads one lane may have at once.
        self.lane_threads = _share(concurrency, lanes)
        self._rate = rate
        self._allowed = min(rate, float(concurrency)) if rate else 0.0
        self._at: datetime | None = None
        self._in_flight: Counter[str] = Counter()
        self._resting: dict[str, datetime] = {}
        self._said: dict[str, object] = {}

    @property
    def free(self) -> int:
        """How many slots are free."""
        return self._most - self._in_flight.total()

    @property
    def in_flight(self) -> int:
        """How many are claimed and not settled yet."""
        return self._in_flight.total()

    def rest(self, lane: str, now: datetime, asked: timedelta) -> None:
        """Send nothing in a lane for so long, but no longer than a minute."""
        until = now + min(asked, _LONGEST_REST)
        self._resting[lane] = max(self._resting.get(lane, until), until)

    def heard(self, lane: str) -> object:
        """Return a token that changes when the network says something of a whole lane."""
        return self._said.get(lane)

    def hear(self, lane: str) -> None:
        """The network asked for a rest, or refused the credential. Any thread may tell."""
        self._said[lane] = object()

    def rests(self, now: datetime) -> dict[str, datetime]:
        """Return the lanes that rest, and until when; a clock that was set back ends their rests."""
        latest = now + _LONGEST_REST
        self._resting = {lane: end for lane, end in self._resting.items() if now < end <= latest}
        return self._resting

    def shut(self, now: datetime) -> tuple[dict[str, datetime], list[str]]:
        """Return the lanes that rest, until when, and those that have all in flight that they may."""
        full = [lane for lane, count in self._in_flight.items() if count >= self._lane_limit]
        return self.rests(now), full

    def limit(self, now: datetime) -> int:
        """Return how many deliveries may be claimed now, whichever open lane they are of."""
        room = [self._lane_limit - count for count in self._in_flight.values()]
        allowed = min([self.free, self._lane_limit, *(left for left in room if left > 0)])
        return allowed if self._rate is None else min(allowed, self._tokens(now))

    def started(self, lane: str) -> None:
        """A delivery is in flight."""
        self._in_flight[lane] += 1
        self._allowed -= 1

    def finished(self, lane: str, *, asked: bool) -> None:
        """A delivery is in flight no more; one that asked nothing of the network costs no rate."""
        if not asked:
            self._allowed += 1
        self._in_flight[lane] -= 1
        if not self._in_flight[lane]:
            del self._in_flight[lane]

    def next_token(self) -> float | None:
        """Return the seconds until the rate allows the next one, or None when it does now."""
        if self._rate is None or self._allowed >= 1:
            return None
        return (1 - self._allowed) / self._rate

    def _tokens(self, now: datetime) -> int:
        assert self._rate is not None
        if self._at is not None:
            gained = max((now - self._at).total_seconds(), 0.0) * self._rate
            self._allowed = min(self._allowed + gained, max(self._rate, 1.0))
        self._at = now
        return max(int(self._allowed), 0)


def _share(slots: int, lanes: int) -> int:
    return slots if lanes == 1 else max(1, slots * 3 // 4)
