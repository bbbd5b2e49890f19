"""Whether a conversion may go before another one is there. Pure.

At the network a customer must exist before an action or a transaction counts, and a transaction
before it is paid back. Only the same customer's deliveries wait for each other.

A sign-up that was accepted but cannot be confirmed, or a customer of whom the network tells nothing
(keys that may not read, an API that is down for weeks), must not cost the conversions behind it: in
the last day before its deadline a child goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..networks.reading import GRACE
from .settlement import Delivery, Status


class Go:
    """Nothing stands in the way."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Its parent is not there yet; nothing new is expected before `until`."""

    detail: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Its parent will never be there: this is what becomes of it."""

    status: Status
    detail: str
    #: Its parent as it was when that was decided.
    parent: Delivery | None = None
    #: The unexpected: told loudly.
    alarm: bool = False


class Ask:
    """Nobody here knows the customer (older than the installation): ask the network."""

    __slots__ = ()


Decision = Go | Wait | Stop | Ask

_THERE = (Status.DELIVERED, Status.CONFIRMED)
_NOTHING_SENT = (Status.UNATTRIBUTED, Status.INVALID, Status.WITHDRAWN)
_FAILED = (Status.REFUSED, Status.EXPIRED, Status.MISSING)
#: How long before its deadline a child waits for no proof any more.
_LAST_CALL = timedelta(days=1)


def decide(
    delivery: Delivery, parent: Delivery | None, now: datetime, *, verifying: bool
) -> Decision:
    """Decide on a delivery that has a parent. `verifying`: accepted sign-ups get confirmed."""
    if parent is None:
        return Ask() if delivery.kind in ("action", "transaction") else Go()
    name = f"its {parent.kind} (delivery {parent.id})"
    if parent.customer_key not in (None, delivery.customer_key):
        why = f"{name} is another customer's: a key is to be unique over all customers"
        return Stop(Status.REFUSED, why, parent, alarm=True)
    why = f"{name} is {parent.status}: {parent.detail or parent.reason}"
    if parent.status in _NOTHING_SENT:
        return Stop(Status.UNATTRIBUTED, why, parent)
    if delivery.kind == "reversal" and _may_be_there(parent):
        return Go()
    if parent.status in _FAILED:
        return Stop(Status.REFUSED, why, parent)
    if parent.status is Status.DRY_RUN:
        return Stop(Status.DRY_RUN, f"{name} was not sent either", parent)
    if parent.status not in _THERE:
        return Wait(f"waits for {name}: {parent.status}", parent.due_at)
    confirmed = parent.kind != "signup" or parent.verify_at is None
    if verifying and not confirmed and not is_last_call(delivery, now):
        return Wait(f"waits until {name} is confirmed", parent.verify_at)
    return Go()


def _may_be_there(parent: Delivery) -> bool:
    """Say whether it was given up with an attempt of which nobody knows whether it arrived."""
    return parent.status is Status.EXPIRED and parent.ambiguous_at is not None


def is_last_call(delivery: Delivery, now: datetime) -> bool:
    """Say whether a delivery goes now without proof that its parent is there."""
    return now >= delivery.deadline_at - _LAST_CALL


def is_undone(delivery: Delivery, parent: Delivery | None, now: datetime) -> bool:
    """Say whether what is not at the network now was undone by an attempt without an answer.

    Where nobody here knows what is undone, it may be recorded later: until the last call.
    """
    tried = delivery.ambiguous_at
    if tried is None or now < tried + GRACE:
        return False
    return parent is not None or is_last_call(delivery, now)


def never_came(parent: Delivery | None, now: datetime) -> bool:
    """Say whether what was given up without an answer, and is not at the network, never arrived."""
    if parent is None or not _may_be_there(parent):
        return False
    return parent.ambiguous_at is not None and now >= parent.ambiguous_at + GRACE
