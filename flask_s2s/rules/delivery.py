"""Deliveries, and `settle`: the rule that turns an outcome into a delivery's next state. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, final

from ..click import Click
from ..conversion import Conversion
from ..networks.messages import (
    Accepted,
    Ambiguous,
    Duplicate,
    NotThere,
    Outcome,
    Refused,
    RetryLater,
    Unauthorised,
)
from .attribution import UNPROVED
from .retry import RetryPolicy
from .states import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One outbox row: a conversion that must reach one network."""

    id: int
    network: str
    lane: str
    kind: str
    status: Status
    #: Why it has the click it has, or none (`Reason`).
    reason: str
    customer_key: str | None
    #: None for a row that only tells why there is nothing to send.
    conversion: Conversion | None
    click: Click | None
    #: The other clicks that the visitor came by, newest first; not read back with a row.
    touches: tuple[Click, ...] = ()
    #: Attempts opened so far.
    attempts: int
    created_at: datetime
    #: When it is tried next; None when there is nothing left to do.
    due_at: datetime | None
    deadline_at: datetime
    settled_at: datetime | None = None
    #: When the last attempt was opened that may have reached the network without our knowing.
    ambiguous_at: datetime | None = None
    detail: str | None = None
    #: The fence: only who holds it may settle.
    lease_token: str | None = None
    #: What makes it itself, as a keyed hash; "" before it is stored.
    dedupe: str = ""
    #: The `dedupe` of the delivery that must have been accepted first.
    parent: str | None = None
    #: When the network is asked next whether it has it.
    verify_at: datetime | None = None
    #: How often the network said, when it was asked since the last delivery, that it is not there.
    checks: int = 0
    #: How often it was sent again because the network did not have it.
    resent: int = 0
    #: How far the network's list has been read, to see whether the last attempt arrived.
    read_to: str | None = None
    #: Whom it is credited to; of what belongs to a customer, as their sign-up is.
    partner_key: str | None = None
    #: The first sub ID of that click.
    sub_id: str | None = None
    #: Minor units of `currency`; a refund's is negative, a reversal's undoes its transaction's.
    amount: int | None = None
    currency: str | None = None
    #: The site's own key of it: an invoice's number, say.
    key: str | None = None
    #: The type of an action.
    what: str | None = None
    #: The customer's key at the network, where the site's has changed since: this one is sent.
    known_as: str | None = None
    #: Of the sign-up's e-mail address, a keyed hash; not read back with a row.
    person: str | None = field(default=None, repr=False)

    @property
    def network_key(self) -> str | None:
        """The customer's key at the network."""
        return self.known_as or self.customer_key

    @property
    def customer_keys(self) -> frozenset[str]:
        """Every key that its customer has, or had; empty where the row was emptied."""
        return frozenset(filter(None, (self.customer_key, self.known_as)))

    def stored(self, id: int, dedupe: str) -> Delivery:
        """Become the row that it was inserted as: nobody has seen the draft, so none is kept."""
        object.__setattr__(self, "id", id)
        object.__setattr__(self, "dedupe", dedupe)
        return self


def is_same_customer(parent: Delivery, delivery: Delivery) -> bool:
    """Say whether they may be the same customer's, whose key may have changed between the two."""
    known = parent.customer_keys
    return not known or not known.isdisjoint(delivery.customer_keys)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A conversion that is not stored yet, and will be: by another try, or after a transaction.

    It counts as false, as no delivery does.
    """

    #: What it waits for, in words.
    why: str

    def __bool__(self) -> Literal[False]:
        return False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NotStored:
    """A conversion that is lost, unless it is recorded again: the log has it. It counts as false."""

    #: The error's type, or what else was in the way.
    why: str

    def __bool__(self) -> Literal[False]:
        return False


#: What became of a conversion that was reported.
Tracked: TypeAlias = Delivery | Late | NotStored


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A delivery's next state."""

    status: Status
    detail: str
    due_at: datetime | None = None
    ambiguous_at: datetime | None = None
    #: When the network is asked whether it has it.
    verify_at: datetime | None = None
    #: How far its list has been read, to see whether an earlier attempt arrived.
    read_to: str | None = None
    #: The unexpected: told loudly.
    alarm: bool = False

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to send."""
        return self.due_at is None


def told(delivery: Delivery, detail: str) -> str:
    """Return a delivery's next detail: that nobody proved the binding which credits it stays in front."""
    kept = (delivery.detail or "").startswith(UNPROVED) and not detail.startswith(UNPROVED)
    return (f"{UNPROVED}; {detail}" if kept else detail)[:255]


def deadline(
    click_at: datetime | None, converted_at: datetime, window: timedelta, give_up: timedelta
) -> datetime:
    """The later of click + window and conversion + give-up."""
    last = converted_at + give_up
    return last if click_at is None else max(last, click_at + window)


def settle(
    delivery: Delivery,
    outcome: Outcome,
    now: datetime,
    policy: RetryPolicy,
    jitter: float,
    verify_at: datetime | None = None,
) -> Settlement:
    """Turn what the network's answer means into the delivery's next state.

    `verify_at` is when the network is asked for its record of what it accepts now.
    """
    match outcome:
        case Accepted():
            return Settlement(status=Status.DELIVERED, detail=outcome.detail, verify_at=verify_at)
        case Duplicate():
            detail = f"already known: {outcome.detail}"
            return Settlement(status=Status.DELIVERED, detail=detail, verify_at=verify_at)
        case Refused():
            return Settlement(status=Status.REFUSED, detail=outcome.detail, alarm=True)
        case Unauthorised():
            # Due at once: its closed lane keeps it, and a probe finds it.
            return Settlement(
                status=Status.HELD,
                detail=outcome.detail,
                due_at=now,
                # An earlier attempt may have arrived, whatever became of this one.
                ambiguous_at=delivery.ambiguous_at,
                read_to=delivery.read_to,
                alarm=True,
            )
        case NotThere():
            # Undoing is harmless, so it is tried again: what is to be undone may still come.
            due = now + policy.wait(delivery.attempts, jitter)
            return _again(delivery, due, now, outcome.detail)
        case RetryLater():
            due = now + policy.wait(delivery.attempts, jitter, outcome.after)
            return _again(delivery, due, now, outcome.detail, alarm=outcome.alarm)
        case Ambiguous():
            due = now + policy.wait(delivery.attempts, jitter, outcome.after)
            alarm = outcome.alarm
            return _again(delivery, due, now, outcome.detail, ambiguous_at=now, alarm=alarm)


def _again(
    delivery: Delivery,
    due: datetime,
    now: datetime,
    detail: str,
    *,
    ambiguous_at: datetime | None = None,
    alarm: bool = False,
) -> Settlement:
    """Try again, at the latest on the deadline, unless that has passed by one clock alone."""
    if delivery.due_at is not None and now < delivery.deadline_at < due:
        due = delivery.deadline_at
    return Settlement(
        status=Status.PENDING,
        detail=detail,
        due_at=due,
        ambiguous_at=ambiguous_at or delivery.ambiguous_at,
        # What surely did not arrive is nothing new to look for.
        read_to=delivery.read_to if ambiguous_at is None else None,
        alarm=alarm,
    )


def expire(delivery: Delivery) -> Settlement:
    """The deadline has passed. The row stays and can be retried by hand."""
    return Settlement(
        status=Status.EXPIRED,
        detail=f"not delivered before its deadline (last: {delivery.detail or 'never tried'})",
        ambiguous_at=delivery.ambiguous_at,
        alarm=True,
    )
