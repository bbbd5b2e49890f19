"""The time of day. How long something takes is counted where it is waited for (`time.monotonic`).

Rules take `now`; objects that need the time take a `Clock`. Datetimes are aware and UTC everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Anything that knows the time. `flask_s2s.testing.ManualClock` is another one."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...


def counting(clock: Clock) -> Callable[[], float]:
    """Return what counts the seconds beside a clock: its own `monotonic`, if it has one."""
    own: Callable[[], float] = getattr(clock, "monotonic", time.monotonic)
    return own
