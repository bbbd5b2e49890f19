"""Dependencies: a conversion waits until the one that it depends on was accepted. Pure.

At the network a customer must exist before an action or a transaction counts, and a transaction
before it is paid back. Only the same customer's deliveries wait for each other.

A sign-up that was accepted counts once the network shows its record; a delivery that waits for it
asks, at once and then at growing intervals. Where the network tells nothing (keys that may not read,
an API that is down), the conversions behind it go all the same after `PROOF`, or in their last day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from .delivery import Delivery, is_same_customer
from .states import Status


class Go:
    """Nothing stands in the way."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Its dependency is not there yet; nothing new is expected before `until`."""

    detail: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Its dependency will never be there: this is what becomes of it."""

    status: Status
    detail: str
    #: Its dependency as it was when that was decided.
    parent: Delivery | None = None
    #: The unexpected: told loudly.
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """Only the network's record tells that the customer is there: ask for it."""

    detail: str
    #: Since when it must be there, or is waited for.
    since: datetime
    #: The accepted sign-up; None: nobody here knows the customer (older than the installation).
    parent: Delivery | None = None


Decision = Go | Wait | Stop | Ask


@dataclass(frozen=True, slots=True)
class Later:
    """Not sent now: wait until then, without having used an attempt."""

    due_at: datetime
    detail: str
    #: What that was decided on, as it was then.
    parent: Delivery | None = None
    #: How far the network's list has been read by now; None: no farther than before.
    read_to: str | None = None


@dataclass(frozen=True, slots=True)
class Unsent:
    """Not sent, and nothing is decided of it: it is due as before."""


#: How long before its deadline a dependent waits for no proof any more.
_LAST_CALL = timedelta(days=1)
#: How long what waits for a customer's record waits while the network does not tell.
PROOF = timedelta(hours=6)


def decide(
    delivery: Delivery, parent: Delivery | None, now: datetime, *, verifying: bool
) -> Decision:
    """Decide on a dependent delivery. `verifying`: accepted sign-ups get confirmed."""
    if parent is None:
        asks = delivery.kind in ("action", "transaction")
        return Ask("a customer that is not known here", delivery.created_at) if asks else Go()
    name = f"its {parent.kind} (delivery {parent.id})"
    if not is_same_customer(parent, delivery):
        why = f"{name} is another customer's: a key is to be unique over all customers"
        return Stop(Status.REFUSED, why, parent, alarm=True)
    why = f"{name} is {parent.status}: {parent.detail or parent.reason}"
    if parent.status is Status.DRY_RUN:
        return Stop(Status.DRY_RUN, f"{name} was not sent either", parent)
    if parent.status.unsent:
        return Stop(Status.UNATTRIBUTED, why, parent)
    if delivery.kind == "reversal" and _may_be_there(parent):
        return Go()
    if parent.status.failed:
        return Stop(Status.REFUSED, why, parent)
    if not parent.status.accepted:
        return Wait(f"waits for {name}: {parent.status}", parent.due_at)
    confirmed = parent.kind != "signup" or parent.verify_at is None
    if verifying and not confirmed and not is_last_call(delivery, now):
        since = parent.settled_at or delivery.created_at
        return Ask(f"waits for the record of {name}", since, parent)
    return Go()


def _may_be_there(parent: Delivery) -> bool:
    """Say whether it was given up with an attempt of which nobody knows whether it arrived."""
    return parent.status is Status.EXPIRED and parent.ambiguous_at is not None


def is_last_call(delivery: Delivery, now: datetime) -> bool:
    """Say whether a delivery goes now without proof that its dependency is there."""
    return now >= delivery.deadline_at - _LAST_CALL


def is_undone(
    delivery: Delivery, parent: Delivery | None, now: datetime, absent_after: timedelta
) -> bool:
    """Say whether what is not at the network now was undone by an attempt without an answer.

    Where nobody here knows what is undone, it may be recorded later: until the last call.
    """
    tried = delivery.ambiguous_at
    if tried is None or now < tried + absent_after:
        return False
    return parent is not None or is_last_call(delivery, now)


def never_came(parent: Delivery | None, now: datetime, absent_after: timedelta) -> bool:
    """Say whether what was given up without an answer, and is not at the network, never arrived."""
    if parent is None or not _may_be_there(parent):
        return False
    return parent.ambiguous_at is not None and now >= parent.ambiguous_at + absent_after
