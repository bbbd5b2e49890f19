"""How due deliveries are leased, on each database.

SQLite: one `UPDATE ... RETURNING`, which takes the write lock with its first byte and so cannot
fail as a read that wants to write, whatever transaction mode the host chose. PostgreSQL and
MariaDB: the due rows are locked first, skipping those that another worker has locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, Table, case, null, select, update

from .rows import delivery_of
from .settlement import Delivery, Status


def due(
    rows: Table, now: datetime, limit: int, closed: Sequence[str], only: str | None
) -> Select[Any]:
    """Select the ids of what is due, oldest first; leased rows are due when their lease ends."""
    found = select(rows.c.id).where(rows.c.due_at <= now).order_by(rows.c.due_at).limit(limit)
    if closed:
        found = found.where(rows.c.lane.not_in(closed))
    return found if only is None else found.where(rows.c.lane == only)


def lease(
    connection: Connection, rows: Table, found: Select[Any], token: str, until: datetime
) -> list[Delivery]:
    """Lease the rows that `found` selects; return them as they are then."""
    leasing = _leasing(rows, token, until)
    if connection.dialect.name == "sqlite":
        at_once = leasing.where(rows.c.id.in_(found)).returning(*rows.c)
        return [delivery_of(row) for row in connection.execute(at_once).mappings()]
    ids = list(connection.scalars(found.with_for_update(skip_locked=True)))
    if not ids:
        return []
    connection.execute(leasing.where(rows.c.id.in_(ids)))
    mine = select(rows).where(rows.c.id.in_(ids))
    return [delivery_of(row) for row in connection.execute(mine).mappings()]


def _leasing(rows: Table, token: str, until: datetime) -> Any:
    # A row that is still `sending` has an attempt that nobody closed: it may have arrived, at the
    # latest when its lease ended. Assigned first, because MariaDB assigns from left to right.
    unjudged = case(
        (rows.c.status == Status.SENDING.value, rows.c.due_at), else_=rows.c.ambiguous_at
    )
    # And its record would be newer than any that was read.
    anew = case((rows.c.status == Status.SENDING.value, null()), else_=rows.c.read_to)
    return update(rows).ordered_values(
        (rows.c.ambiguous_at, unjudged),
        (rows.c.read_to, anew),
        (rows.c.status, Status.SENDING.value),
        (rows.c.lease_token, token),
        (rows.c.due_at, until),
        (rows.c.attempts, rows.c.attempts + 1),
    )
