"""A period of a report: whole days in the advertiser's zone (`S2S_REPORT_ZONE`).

Its times are aware and in that zone, so that a day after a midnight is the next midnight, also where the
clocks change in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo

from ..errors import UsageError
from ..store.sums import Days

#: What can be written for it, and how many days it has, today included.
NAMED = {"today": 1, "7d": 7, "30d": 30, "90d": 90}
#: The longest one: what a page can still count while somebody waits.
LONGEST = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From the first moment of a day to the end of another."""

    #: As it is written in an address.
    name: str
    since: datetime
    #: The first moment that does not belong to it.
    until: datetime

    @property
    def days(self) -> list[datetime]:
        """The first moment of each of its days."""
        number = (self.until - self.since).days
        return [self.since + timedelta(days=day) for day in range(number)]

    @property
    def counted(self) -> Days:
        """The same as the sums are asked for them."""
        return Days(self.days, self.until)

    @classmethod
    def named(cls, name: str, now: datetime) -> Period:
        """Return today, or the days until and with today, in the zone of `now`. Raises `UsageError`."""
        days = NAMED.get(name)
        if days is None:
            raise UsageError(f"a period is {', '.join(NAMED)}, or from= and to=, not {name!r}")
        until = _midnight(now.date(), now.tzinfo) + timedelta(days=1)
        return cls(name=name, since=until - timedelta(days=days), until=until)

    @classmethod
    def from_(cls, since: str, now: datetime) -> Period:
        """Return the days from a named one, or from a date, until and with today."""
        if since in NAMED:
            return cls.named(since, now)
        return cls.between(since, f"{now:%Y-%m-%d}", now.tzinfo)

    @classmethod
    def between(cls, first: str, last: str, zone: tzinfo | None = timezone.utc) -> Period:
        """Return the days from one date to another, both included. Raises `UsageError`."""
        since, until = _day(first, zone), _day(last, zone) + timedelta(days=1)
        if not timedelta(0) < until - since <= LONGEST:
            raise UsageError("a period ends after it begins, and has 366 days at most")
        return cls(name="other", since=since, until=until)


def _day(text: str, zone: tzinfo | None) -> datetime:
    try:
        day = date.fromisoformat(text)
        # The first and the last that there are have no moment in other zones.
        if not 1970 <= day.year < 9999:
            raise ValueError
        return _midnight(day, zone)
    except ValueError:
        raise UsageError(f"a date is written like 2026-11-30, not {text!r}") from None


def _midnight(day: date, zone: tzinfo | None) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone)
