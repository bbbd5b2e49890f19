"""Statuses of deliveries: which may follow each, and its meaning to the rest. Pure.

::

    armed ──> pending ──> sending ──> delivered ──> confirmed | missing
      │          ^  ^        │ ├────> refused
      v          │  └────────┘ ├────> expired
    withdrawn    └── held <────┘
    unattributed, invalid: stored to answer "why not?"; dry_run: stored to show what would be sent

`waiting` is a delivery whose customer's sign-up (or whose transaction) must be accepted first.
`armed` and `sending` carry a lease: the first is the conversion view's (its success releases the
row, its error withdraws it, its death lets the lease run out), the second a worker's.

Every status is open, accepted, failed or unsent: one of the four. The CHECK constraints of the table
and the sets that statements ask for are made from the properties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum


class Status(str, Enum):
    """A delivery's place in its life."""

    ARMED = "armed"
    PENDING = "pending"
    WAITING = "waiting"
    SENDING = "sending"
    HELD = "held"
    DELIVERED = "delivered"
    CONFIRMED = "confirmed"
    MISSING = "missing"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNATTRIBUTED = "unattributed"
    INVALID = "invalid"
    WITHDRAWN = "withdrawn"
    DRY_RUN = "dry_run"

    def __str__(self) -> str:
        return self.value

    # -- one of four --------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Something is left to do: the row has a `due_at`."""
        return self.leased or self in (Status.PENDING, Status.WAITING, Status.HELD)

    @property
    def accepted(self) -> bool:
        """The network has it, by its answer or by its record."""
        return self in (Status.DELIVERED, Status.CONFIRMED)

    @property
    def failed(self) -> bool:
        """It was to be sent, and is not at the network, or nobody knows."""
        return self in (Status.REFUSED, Status.EXPIRED, Status.MISSING)

    @property
    def unsent(self) -> bool:
        """It has nothing to send, and counts for nobody."""
        return not (self.open or self.accepted or self.failed)

    # -- who has it ---------------------------------------------------------------------------

    @property
    def leased(self) -> bool:
        """Somebody holds a lease: a worker, or the view that armed the row."""
        return self in (Status.ARMED, Status.SENDING)

    @property
    def queued(self) -> bool:
        """Nothing but the network stands in its way."""
        return self in (Status.PENDING, Status.SENDING)

    @property
    def sent(self) -> bool:
        """The network has accepted it once: it cannot be withdrawn any more."""
        return self.accepted or self is Status.MISSING

    @property
    def unconfirmed(self) -> bool:
        """The network has accepted it, and has not shown its record."""
        return self.sent and self is not Status.CONFIRMED

    @property
    def given_up(self) -> bool:
        """It ended before the network accepted it."""
        return self.failed and not self.sent

    @property
    def absent(self) -> bool:
        """It is not at the network for certain. One that expired may have arrived."""
        return self.unsent or (self.failed and self is not Status.EXPIRED)

    @property
    def dropped(self) -> bool:
        """It was kept back, or its time ran out: the network refused nothing."""
        return self in (Status.WITHDRAWN, Status.EXPIRED)

    # -- what may be done ---------------------------------------------------------------------

    @property
    def undelivered(self) -> bool:
        """It could be sent yet, by itself or by hand: whom it is of may have that ended."""
        return self.open or self.given_up

    @property
    def retriable(self) -> bool:
        """`retry` makes it due at once, in whatever way it came to this."""
        return self.failed or self in (Status.PENDING, Status.HELD, Status.WITHDRAWN)

    @property
    def discardable(self) -> bool:
        """Nobody holds what is left to do: it may be kept back by hand."""
        return self.open and not self.leased

    @property
    def done(self) -> bool:
        """Nobody has to look at it any more: it may be emptied."""
        return self.accepted or self.unsent

    @property
    def alarming(self) -> bool:
        """A person has to look at it."""
        return self.failed or self is Status.INVALID

    @property
    def troubled(self) -> bool:
        """Its last word may be an error: it ended so, or waits after it."""
        return self.alarming or self.discardable

    @property
    def replaceable(self) -> bool:
        """Without anything to send, it gives way to a later conversion of the same that has."""
        return self in (Status.UNATTRIBUTED, Status.WITHDRAWN)

    @property
    def sendable(self) -> bool:
        """A delivery with something to send begins in this status."""
        return self in (Status.ARMED, Status.PENDING, Status.DRY_RUN)

    @property
    def listening(self) -> bool:
        """It looks again when the delivery moves that must be there first."""
        return self in (Status.WAITING, Status.UNATTRIBUTED)

    # -----------------------------------------------------------------------------------------

    def may_become(self, status: Status) -> bool:
        """Say whether a row's next status may be this one; each may stay as it is."""
        return status is self or status in TRANSITIONS[self]


#: status -> what may follow it.
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    # Its view succeeds, dies, or fails.
    Status.ARMED: frozenset({Status.PENDING, Status.SENDING, Status.WITHDRAWN}),
    Status.PENDING: frozenset({Status.SENDING, Status.EXPIRED, Status.WITHDRAWN}),
    Status.WAITING: frozenset({Status.SENDING, Status.EXPIRED, Status.WITHDRAWN}),
    Status.HELD: frozenset({Status.PENDING, Status.SENDING, Status.EXPIRED, Status.WITHDRAWN}),
    Status.SENDING: frozenset(
        {
            *(Status.DELIVERED, Status.CONFIRMED, Status.REFUSED, Status.EXPIRED),
            # Again, later: by its answer, its lane, or the one that must be there first.
            *(Status.PENDING, Status.HELD, Status.WAITING),
            # As the one did that must be there first.
            *(Status.UNATTRIBUTED, Status.DRY_RUN),
            # Its person had it erased.
            Status.WITHDRAWN,
        }
    ),
    # By the network's records.
    Status.DELIVERED: frozenset({Status.CONFIRMED, Status.MISSING, Status.PENDING}),
    Status.CONFIRMED: frozenset(),
    Status.MISSING: frozenset({Status.CONFIRMED, Status.PENDING}),
    # Unasked, it waits again or is replaced.
    Status.REFUSED: frozenset(
        {
            *(Status.PENDING, Status.ARMED, Status.DRY_RUN),
            *(Status.WAITING, Status.WITHDRAWN),
        }
    ),
    Status.EXPIRED: frozenset({Status.PENDING, Status.WITHDRAWN}),
    # Replaced, credited by hand, revived with the one that must be there first, or erased.
    Status.UNATTRIBUTED: frozenset(
        {
            *(Status.PENDING, Status.ARMED, Status.DRY_RUN),
            *(Status.WAITING, Status.WITHDRAWN),
        }
    ),
    Status.INVALID: frozenset({Status.WITHDRAWN}),
    Status.WITHDRAWN: frozenset({Status.PENDING, Status.ARMED, Status.DRY_RUN}),
    Status.DRY_RUN: frozenset({Status.WITHDRAWN}),
}


def _those(wanted: Callable[[Status], bool]) -> tuple[str, ...]:
    """Return the statuses that are so, as they are stored."""
    return tuple(status.value for status in Status if wanted(status))


STATUSES = _those(lambda status: True)
OPEN = _those(lambda status: status.open)
LEASED = _those(lambda status: status.leased)
QUEUED = _those(lambda status: status.queued)
ACCEPTED = _those(lambda status: status.accepted)
SENT = _those(lambda status: status.sent)
UNCONFIRMED = _those(lambda status: status.unconfirmed)
FAILED = _those(lambda status: status.failed)
GIVEN_UP = _those(lambda status: status.given_up)
DROPPED = _those(lambda status: status.dropped)
RETRIABLE = _those(lambda status: status.retriable)
DISCARDABLE = _those(lambda status: status.discardable)
DONE = _those(lambda status: status.done)
ALARMING = _those(lambda status: status.alarming)
TROUBLED = _those(lambda status: status.troubled)
CREDITED = _those(lambda status: not status.unsent)
REPLACEABLE = _those(lambda status: status.replaceable)
SENDABLE = _those(lambda status: status.sendable)
LISTENING = _those(lambda status: status.listening)
