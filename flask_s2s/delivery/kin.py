"""Deliveries that wait for another one: telling them that it has moved.

Whoever moves a parent calls its children in the same transaction. One that a worker holds at that
moment is not called: it is about to be put back, on the strength of what its parent was. So putting
it back locks the parent, and looks at it once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from sqlalchemy import (
    Connection,
    Table,
    Update,
    and_,
    bindparam,
    case,
    null,
    or_,
    select,
    update,
)

from .settlement import Delivery, Status

#: Kinds that others wait for.
_PARENTS = ("signup", "transaction")
#: A child in one of these looks again when its parent has moved.
_LISTENING = (Status.WAITING.value, Status.UNATTRIBUTED.value)
#: What is revived has at least so long: a customer may be credited when its own time is over.
_REVIVED = timedelta(days=30)


def call_children(
    connection: Connection, rows: Table, parents: Sequence[Delivery], now: datetime
) -> None:
    """Let what waits for these look again: it may go, or learns why it may not.

    So does what was given up for their sake: a parent that was credited, or sent again by hand,
    revives it. What was emptied since has nothing to send, and stays as it ended.
    """
    called = [parent.dedupe for parent in parents if parent.kind in _PARENTS]
    if not called:
        return
    values = {"its_parents": called, "its_due": now, "its_deadline": now + _REVIVED}
    connection.execute(_calling(rows), values)


@lru_cache(maxsize=8)
def _calling(rows: Table) -> Update:
    # A reversal may have asked before it was refused: there was nothing to undo.
    unasked = or_(rows.c.attempts == 0, rows.c.kind == "reversal")
    given_up = and_(rows.c.status == Status.REFUSED.value, unasked)
    listening = or_(rows.c.status.in_(_LISTENING), given_up)
    called = rows.c.parent.in_(bindparam("its_parents", expanding=True))
    children = update(rows).where(called, listening, rows.c.conversion.is_not(None))
    soonest = bindparam("its_deadline", type_=rows.c.deadline_at.type)
    short = and_(rows.c.status != Status.WAITING.value, rows.c.deadline_at < soonest)
    return children.ordered_values(
        # Before the status that decides it: MariaDB assigns from left to right.
        (rows.c.deadline_at, case((short, soonest), else_=rows.c.deadline_at)),
        (rows.c.status, Status.WAITING.value),
        (rows.c.due_at, bindparam("its_due", type_=rows.c.due_at.type)),
        (rows.c.settled_at, null()),
    )


def has_moved(connection: Connection, rows: Table, parent: Delivery) -> bool:
    """Say whether a parent has moved since it was read; it stays so until the transaction ends."""
    this = rows.c.id == parent.id
    if connection.dialect.name == "sqlite":
        # Locks the file: a transaction that begins by reading may not be let write.
        connection.execute(update(rows).where(this).values(status=rows.c.status))
    locked = select(rows.c.status, rows.c.verify_at).where(this).with_for_update(read=True)
    found = connection.execute(locked).one_or_none()
    if found is None:
        return False
    confirmed, was_confirmed = found.verify_at is None, parent.verify_at is None
    return (found.status, confirmed) != (parent.status.value, was_confirmed)
