"""What a payment that is undone as a whole takes along: the parts of it that were paid back before.

A part is a transaction of its own at the network, with a negative amount. Left there beside a payment
that is undone, it would be taken from the partner a second time. So each part gets a reversal of its
own, once the network has undone the payment: what it does not undo leaves its parts as they are.

That is recorded by whoever hears of the network's answer, before it is settled: a process that dies in
between hears of it again. The reversal, once it was taken, takes along all parts that there are; a
part that is recorded later finds the reversal that was recorded before. Not by whoever records them:
two transactions of a site need not see each other.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from ..conversion import Conversion, Reversal, Transaction
from .outbox import Outbox
from .settlement import Delivery, Status

log = logging.getLogger("flask_s2s.worker")

#: A part in one of these is not at the network, and will not be.
_NOT_SENT = (
    Status.UNATTRIBUTED,
    Status.INVALID,
    Status.WITHDRAWN,
    Status.DRY_RUN,
    Status.REFUSED,
)
#: A reversal in one of these undoes nothing.
_GIVEN_UP = (*_NOT_SENT, Status.EXPIRED)


def undo_parts(outbox: Outbox, taken: Delivery, now: datetime) -> None:
    """Record what is to be undone because of a delivery that the network has taken."""
    match taken.conversion:
        case Reversal():
            for part in outbox.siblings(taken, Transaction.kind):
                if part.status not in _NOT_SENT:
                    _undo(outbox, part, taken, now)
        case Transaction(refunds=str()):
            for whole in outbox.siblings(taken, Reversal.kind):
                if whole.conversion is not None and whole.status not in _GIVEN_UP:
                    _undo(outbox, taken, whole, now, after=whole.conversion)


def _undo(
    outbox: Outbox,
    part: Delivery,
    whole: Delivery,
    now: datetime,
    *,
    after: Conversion | None = None,
) -> None:
    """Record the reversal of a part, like that of its payment; it waits for the part, or `after`."""
    undone = part.conversion
    if not isinstance(undone, Transaction):
        log.error(
            "s2s.refund.unknown: delivery %d paid back a part of what is undone now, and was "
            "emptied: undo it at the network by hand",
            part.id,
            extra={"action": "refund.unknown", "delivery_id": part.id},
        )
        return
    reversal = Reversal(customer_key=undone.customer_key, transaction_key=undone.key)
    draft = replace(
        whole,
        status=Status.PENDING,
        customer_key=undone.customer_key,
        conversion=reversal,
        detail=None,
        attempts=0,
        created_at=now,
        due_at=now,
        deadline_at=now + (whole.deadline_at - whole.created_at),
        settled_at=None,
        lease_token=None,
        ambiguous_at=None,
    )
    outbox.add_alone(draft, reversal.identity, (after or undone).identity)
