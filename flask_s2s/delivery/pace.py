"""How much may be in flight: free slots, shared between lanes, a rate, and rests.

One slow lane must not take every slot: while more than one lane exists, a lane gets three quarters.
A lane rests where its network asked for that, whichever delivery it said it of.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

#: However long a network asks to be left alone.
_LONGEST_REST = timedelta(minutes=1)


class Pace:
    """What one worker has in flight, and how much more it may send now."""

    def __init__(self, concurrency: int, *, lanes: int = 1, rate: float | None = None) -> None:
        self._concurrency = concurrency
        self._lane_limit = concurrency if lanes == 1 else max(1, concurrency * 3 // 4)
        self._rate = rate
        self._allowed = min(rate, float(concurrency)) if rate else 0.0
        self._at: datetime | None = None
        self._flying: Counter[str] = Counter()
        self._resting: dict[str, datetime] = {}

    @property
    def free(self) -> int:
        """How many slots are free."""
        return self._concurrency - self._flying.total()

    def rest(self, lane: str, now: datetime, asked: timedelta) -> None:
        """Send nothing in a lane for so long, but no longer than a minute."""
        until = now + min(asked, _LONGEST_REST)
        self._resting[lane] = max(self._resting.get(lane, until), until)

    def rests(self, now: datetime) -> dict[str, datetime]:
        """Return the lanes that rest, and until when; a clock that was set back ends their rests."""
        latest = now + _LONGEST_REST
        self._resting = {lane: end for lane, end in self._resting.items() if now < end <= latest}
        return self._resting

    def full_lanes(self) -> list[str]:
        """Return the lanes that have all in flight that they may."""
        return [lane for lane, count in self._flying.items() if count >= self._lane_limit]

    def shut_lanes(self, now: datetime) -> list[str]:
        """Return the lanes that rest, or are full."""
        return [*self.rests(now), *self.full_lanes()]

    def limit(self, now: datetime) -> int:
        """Return how many deliveries may be claimed now, whichever open lane they are of."""
        room = [self._lane_limit - count for count in self._flying.values()]
        allowed = min([self.free, self._lane_limit, *(left for left in room if left > 0)])
        return allowed if self._rate is None else min(allowed, self._tokens(now))

    def took_off(self, lane: str) -> None:
        """A delivery is in flight."""
        self._flying[lane] += 1
        self._allowed -= 1

    def landed(self, lane: str, *, asked: bool) -> None:
        """A delivery is in flight no more; one that asked nothing of the network costs no rate."""
        if not asked:
            self._allowed += 1
        self._flying[lane] -= 1
        if not self._flying[lane]:
            del self._flying[lane]

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
