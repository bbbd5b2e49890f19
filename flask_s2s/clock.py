"""What time it is: the only module that asks the machine.

Rules take `now`; objects that need the time take a `Clock`. Datetimes are aware and UTC everywhere.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """Anything that knows the time. `flask_s2s.testing.ManualClock` is another one."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)
