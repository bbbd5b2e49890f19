"""What becomes of a delivered sign-up when the network was asked for its record. Pure.

A record proves the delivery. No record proves little: the network's own list runs late (minutes were
seen), so it counts only when the look was due, 15 minutes after the last possible write, and only
when a later look says the same. Then the sign-up is sent again, `RESENDS` times at most, because a
repeat is harmless; after that it is missing, and a person has to ask the network. An answer that
does not tell changes nothing: it is asked again, at growing intervals, until the deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..networks.reading import GRACE, Absent, Present, Reading, Unknown
from .settlement import Delivery, Status

#: How often a sign-up that the network does not have is sent again.
RESENDS = 2
#: What a confirmed delivery says when its record is in the network's test environment.
TEST_RECORD = "on record as a TEST: nobody is paid for it. Is the token the production one?"

_FIRST_WAIT = timedelta(minutes=30)
_LONGEST_WAIT = timedelta(days=1)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What is said of a verdict. Those that say no more share its methods: made once, not for each."""

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


class Unmoved(_Told):
    """Asked out of turn, and the answer proves nothing."""

    __slots__ = ()


Verdict = Confirmed | LookAgain | SendAgain | Missing | Unproven | Unmoved


def judge(
    delivery: Delivery, reading: Reading, now: datetime, *, due: bool, production: bool
) -> Verdict:
    """Judge a reading. `due`: it was time to look; out of turn, only a record counts."""
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
            return _absent(delivery, now)
        case Unknown(detail=detail):
            if delivery.status is not Status.DELIVERED or not due:
                return Unmoved(detail=detail)
            return _unknown(delivery, now, detail)


def is_due(delivery: Delivery, now: datetime) -> bool:
    """Say whether it is time to look, so that finding nothing counts."""
    if delivery.verify_at is not None:
        return delivery.verify_at <= now
    return delivery.settled_at is not None and delivery.settled_at + GRACE <= now


def _absent(delivery: Delivery, now: datetime) -> Verdict:
    absences = delivery.checks + 1
    if absences < 2:
        detail = "accepted, but not on record yet; a second look decides"
        return LookAgain(at=now + _wait(delivery, now), absences=absences, detail=detail)
    if delivery.resent >= RESENDS:
        detail = f"accepted {delivery.resent + 1} times, and never on record at the network"
        return Missing(detail=detail)
    if delivery.deadline_at <= now or delivery.conversion is None:
        return Missing(detail="accepted, and not on record at the network")
    number = delivery.resent + 1
    return SendAgain(detail=f"accepted, but not on record: sent again ({number} of {RESENDS})")


def _unknown(delivery: Delivery, now: datetime, detail: str) -> Verdict:
    if delivery.deadline_at <= now:
        return Unproven(detail=f"accepted, and never confirmed: {detail}")
    at = min(now + _wait(delivery, now), delivery.deadline_at)
    return LookAgain(at=at, absences=delivery.checks, detail=f"accepted, not confirmed: {detail}")


def _wait(delivery: Delivery, now: datetime) -> timedelta:
    """Twice as long as it has been since the delivery: after 30 minutes, 90, 4 hours and a half."""
    since = now - (delivery.settled_at or now)
    return min(max(2 * since, _FIRST_WAIT), _LONGEST_WAIT)
