"""Deliveries that wait for another one: telling them that it has moved."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, Table, and_, or_, update

from .settlement import Delivery, Status

#: Kinds that others wait for.
_PARENTS = ("signup", "transaction")
#: A child in one of these looks again when its parent has moved.
_LISTENING = (Status.WAITING.value, Status.UNATTRIBUTED.value)


def call_children(
    connection: Connection, rows: Table, parents: Sequence[Delivery], now: datetime
) -> None:
    """Let what waits for these look again: it may go, or learns why it may not.

    So does what was given up for their sake: a parent that was credited, or sent again by hand,
    revives it.
    """
    called = [parent.dedupe for parent in parents if parent.kind in _PARENTS]
    if not called:
        return
    given_up = and_(rows.c.status == Status.REFUSED.value, rows.c.attempts == 0)
    listening = or_(rows.c.status.in_(_LISTENING), given_up)
    children = update(rows).where(rows.c.parent.in_(called), listening)
    connection.execute(children.values(status=Status.WAITING.value, due_at=now, settled_at=None))
