"""The verdict on an accepted delivery, from the network's answer about its record. Pure.

A record proves the delivery. No record proves little: the network's own list runs late (minutes were
seen), so it counts only when the look was due, 15 minutes after the last possible write, and only
when a later look says the same. Then a sign-up is sent again, `RESENDS` times at most, because a
repeat is harmless; after that, as a payment or an action at once, it is missing, and a person decides.
An answer that does not tell changes nothing: it is asked again, at growing intervals, until the
deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from ..networks.reading import Absent, Present, Reading, Unknown
from .delivery import Delivery
from .retry import LONGEST_WAIT
from .states import Status

#: How often a sign-up that the network does not have is sent again.
RESENDS = 2
#: What a confirmed delivery says when its record is in the network's test environment.
TEST_RECORD = "on record as a TEST: nobody is paid for it. Is the token the production one?"

_FIRST_WAIT = timedelta(minutes=30)
#: How long before it was set right a clock may have been ahead.
_AHEAD_FOR = timedelta(days=1)
#: The pause between two looks through a list that is too long for one.
_READ_ON = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The network has it. `test`: as a test, where it should not be one."""

    detail: str
    test: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAgain:
    """Not settled: asked again `at` that time. `absences`: looks that found nothing, so far."""

    at: datetime
    absences: int
    detail: str
    #: How far the network's list has been read by now.
    read_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The common part of verdicts. They share its methods: made once, not for each."""

    detail: str


class SendAgain(_Told):
    """The network surely does not have it."""

    __slots__ = ()


class Missing(_Told):
    """The network does not have it, however often it was sent."""

    __slots__ = ()


class Unproven(_Told):
    """The deadline came, and the network never told. It stays delivered."""

    __slots__ = ()


class Undone(_Told):
    """It is not on record because it was undone since. It stays delivered."""

    __slots__ = ()


class Unmoved(_Told):
    """Asked out of turn, and the answer proves nothing."""

    __slots__ = ()


Verdict = Confirmed | LookAgain | SendAgain | Missing | Unproven | Undone | Unmoved


class Undoing(Enum):
    """The progress of a reversal of the delivery in question."""

    NONE = "none"
    #: It may have arrived.
    OPEN = "open"
    DONE = "done"


def judge(
    delivery: Delivery,
    reading: Reading,
    now: datetime,
    *,
    passed: datetime,
    due: bool,
    production: bool,
    repeatable: bool = True,
    undoing: Undoing = Undoing.NONE,
) -> Verdict:
    """Judge a reading. `due`: it was time to look; out of turn, only a record counts.

    `passed`: up to which moment the time has passed for sure: nothing is given up by one clock.

    `repeatable`: sending it again does no harm. `undoing` was looked up after the reading.
    """
    match reading:
        case Present(test=test):
            if test and production:
                return Confirmed(detail=TEST_RECORD, test=True)
            return Confirmed(detail="on record at the network")
        case Absent():
            if delivery.status is not Status.DELIVERED:
                return Unmoved(detail=f"{delivery.status} before; not on record now")
            if not due:
                return Unmoved(detail="not on record yet, which says nothing so soon")
            if undoing is Undoing.DONE:
                return Undone(detail="accepted, and undone before it was confirmed")
            if undoing is Undoing.OPEN:
                return _unknown(delivery, now, passed, Unknown(detail="it may be undone by now"))
            return _absent(delivery, now, passed, repeatable)
        case Unknown(detail=detail):
            if delivery.status is not Status.DELIVERED or not due:
                return Unmoved(detail=detail)
            return _unknown(delivery, now, passed, reading)


def listed_between(
    delivery: Delivery, written: datetime, now: datetime, *, decides: bool = False
) -> tuple[datetime, datetime]:
    """Return between which moments the network lists what was written last at that time.

    A look that decides goes back further: if all its times are by a clock that was ahead, none shows.
    """
    if delivery.created_at <= written <= now and not decides:
        return delivery.created_at, written
    # The network dates its records by its own clock.
    latest = min(written, now)
    return min(delivery.created_at, latest - _AHEAD_FOR), latest


def is_due(delivery: Delivery, now: datetime, absent_after: timedelta) -> bool:
    """Say whether it is time to look, so that finding nothing counts."""
    if delivery.verify_at is not None:
        return delivery.verify_at <= now
    return delivery.settled_at is not None and delivery.settled_at + absent_after <= now


def _absent(delivery: Delivery, now: datetime, passed: datetime, repeatable: bool) -> Verdict:
    absences = delivery.checks + 1
    if absences < 2:
        detail = "accepted, but not on record yet; a second look decides"
        return LookAgain(at=now + _wait(delivery, now), absences=absences, detail=detail)
    if delivery.resent >= RESENDS:
        detail = f"accepted {delivery.resent + 1} times, and never on record at the network"
        return Missing(detail=detail)
    if not repeatable or delivery.deadline_at <= passed or delivery.conversion is None:
        return Missing(detail="accepted, and not on record at the network")
    number = delivery.resent + 1
    return SendAgain(detail=f"accepted, but not on record: sent again ({number} of {RESENDS})")


def _unknown(delivery: Delivery, now: datetime, passed: datetime, reading: Unknown) -> Verdict:
    if delivery.deadline_at <= passed or reading.lasting:
        return Unproven(detail=f"accepted, and never confirmed: {reading.detail}")
    place = reading.cursor
    moves_on = place not in (None, delivery.read_to)
    wait = _READ_ON if moves_on else _wait(delivery, now)
    return LookAgain(
        # A deadline that one clock alone calls passed is waited for as any other look.
        at=min(now + wait, max(delivery.deadline_at, now + _READ_ON)),
        absences=delivery.checks,
        detail=f"accepted, not confirmed: {reading.detail}",
        read_to=place if moves_on else None,
    )


def _wait(delivery: Delivery, now: datetime) -> timedelta:
    """Twice as long as it has been since the delivery: after 30 minutes, 90, 4 hours and a half."""
    since = now - (delivery.settled_at or now)
    return min(max(2 * since, _FIRST_WAIT), LONGEST_WAIT)
