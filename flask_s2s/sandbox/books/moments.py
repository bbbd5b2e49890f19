"""Time as the network writes it: epoch milliseconds, from a clock that a test can hold still."""

from collections.abc import Callable
from datetime import datetime, timezone

#: Returns an aware datetime.
Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the time of this machine, in UTC."""
    return datetime.now(timezone.utc)


def milliseconds(moment: datetime) -> int:
    """Return an aware moment as epoch milliseconds."""
    return round(moment.timestamp() * 1000)


def from_milliseconds(value: int) -> datetime:
    """Return epoch milliseconds as an aware moment in UTC."""
    return datetime.fromtimestamp(value / 1000, timezone.utc)
