"""What a payment that is undone as a whole takes along: the parts of it that were paid back before.

A part is a transaction of its own at the network, with a negative amount. Left there beside a payment
that is undone, it would be taken from the partner a second time. So once the network has undone the
payment, each part gets a reversal of its own; what is not undone leaves its parts as they are.

That is recorded in the transaction that settles the payment's reversal, for all parts that there are,
or the part, where it is recorded after that. Not by whoever records them: two transactions of a site
need not see each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, select

from ..conversion import Reversal, Transaction
from .frozen import MOVED
from .rows import delivery_of
from .settlement import Delivery, Status

log = logging.getLogger("flask_s2s.worker")

#: A part in one of these is not at the network, and will not be.
_NOT_THERE = (
    Status.UNATTRIBUTED,
    Status.INVALID,
    Status.WITHDRAWN,
    Status.DRY_RUN,
    Status.REFUSED,
)
_TAKEN = (Status.DELIVERED, Status.CONFIRMED)
_GIVEN_UP = (Status.REFUSED, Status.EXPIRED)

#: Adds a delivery, by what makes it itself, behind the one that must be there first.
Add = Callable[[Connection, Delivery, tuple[str, ...], tuple[str, ...]], Delivery]


def take_along(
    connection: Connection, rows: Table, add: Add, taken: Iterable[Delivery], now: datetime
) -> None:
    """Record what is to be undone because the network has taken these, which are settled now."""
    for delivery in taken:
        match delivery.conversion:
            case Reversal():
                for part in _siblings(connection, rows, delivery, Transaction.kind):
                    if part.status not in _NOT_THERE:
                        _undo(connection, rows, add, part, now)
            case Transaction(refunds=str()):
                if _is_undone(connection, rows, delivery):
                    _undo(connection, rows, add, delivery, now)


def _siblings(
    connection: Connection, rows: Table, delivery: Delivery, kind: str, **lock: Any
) -> Iterator[Delivery]:
    """Yield the customer's deliveries of a kind that wait, or waited, for the same one."""
    same = (rows.c.parent == delivery.parent, rows.c.network == delivery.network)
    found = select(rows).where(*same, rows.c.kind == kind, rows.c.id != delivery.id)
    if lock:
        found = found.with_for_update(**lock)
    for row in connection.execute(found).mappings().all():
        if row["customer_key"] in (None, delivery.customer_key):
            yield delivery_of(row)


def _is_undone(connection: Connection, rows: Table, part: Delivery) -> bool:
    """Say whether the payment was undone before; what becomes of it later takes the part along."""
    for whole in _siblings(connection, rows, part, Reversal.kind):
        if whole.detail == MOVED:
            _tell(part, "the reversal of its payment has moved to another database")
        elif whole.status is Status.SENDING:
            # Perhaps it is being settled, and did not see this part: that is over in a moment.
            found = _siblings(connection, rows, part, Reversal.kind, read=True)
            return any(again.status in _TAKEN for again in found)
        elif whole.status in _TAKEN:
            return True
    return False


def _undo(connection: Connection, rows: Table, add: Add, part: Delivery, now: datetime) -> None:
    """Record the reversal of a part; like every reversal it waits until that is there."""
    undone = part.conversion
    if not isinstance(undone, Transaction):
        if part.status in _TAKEN and not _has_reversal(connection, rows, part):
            _tell(part, "it was emptied")
        return
    reversal = Reversal(customer_key=undone.customer_key, transaction_key=undone.key)
    draft = replace(
        part,
        kind=reversal.kind,
        status=Status.PENDING,
        conversion=reversal,
        detail=None,
        attempts=0,
        created_at=now,
        due_at=now,
        deadline_at=now + (part.deadline_at - part.created_at),
        settled_at=None,
        lease_token=None,
    )
    there = add(connection, draft, reversal.identity, reversal.parent)
    if there.status in _GIVEN_UP:
        _tell(part, f"its reversal (delivery {there.id}) is {there.status}")


def _has_reversal(connection: Connection, rows: Table, part: Delivery) -> bool:
    its = (rows.c.parent == part.dedupe, rows.c.network == part.network)
    taken = rows.c.status.in_([status.value for status in _TAKEN])
    found = select(rows.c.id).where(*its, rows.c.kind == Reversal.kind, taken)
    return connection.scalar(found.limit(1)) is not None


def _tell(part: Delivery, why: str) -> None:
    log.error(
        "s2s.refund.left: delivery %d paid back a part of what is undone now, and is not undone "
        "with it: %s. Undo it by hand: `flask s2s retry`, or at the network",
        part.id,
        why,
        extra={"action": "refund.left", "delivery_id": part.id},
    )
