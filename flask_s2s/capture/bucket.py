"""At most so many a second: what bounds the work that anybody may ask for."""

from __future__ import annotations

from datetime import datetime
from threading import Lock


class Bucket:
    """At most `rate` a second, with a second's worth (but one at least) saved up."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(rate, 1.0) if rate else 0.0
        self._left = self._most
        self._at: datetime | None = None
        self._lock = Lock()

    def take(self, now: datetime) -> bool:
        """Say whether there is one left, and take it."""
        with self._lock:
            if self._at is not None:
                gained = (now - self._at).total_seconds() * self._rate
                self._left = min(self._most, self._left + max(gained, 0.0))
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
