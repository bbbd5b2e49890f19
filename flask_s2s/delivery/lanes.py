"""What each lane has due next, found without looking at what else is due in it.

A closed lane may hold tens of thousands of due rows, for weeks. Leaving them out by `lane NOT IN
(...)` reads all of them each time; so each lane is asked for the first of its rows, by an index on
the lane and `due_at`. That is one look for each lane that there is, and there are few. No database
does it in the words of another.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Table,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    tuple_,
)


class Lanes:
    """The lanes of one database's deliveries."""

    def __init__(self, rows: Table) -> None:
        self._all = _all(rows)
        self._step = _step(rows)

    def soonest(self, connection: Connection, closed: Container[str]) -> list[tuple[datetime, str]]:
        """Return when each lane that is not closed has something due next, the soonest first."""
        if connection.dialect.name == "postgresql":
            found = list(connection.execute(self._all))
        else:
            found = self._one_by_one(connection)
        return sorted((due, lane) for lane, due in found if due is not None and lane not in closed)

    def _one_by_one(self, connection: Connection) -> list[Any]:
        found: list[Any] = []
        lane: str | None = ""
        while lane is not None:
            due, following = connection.execute(self._step, {"its_lane": lane}).one()
            found.append((lane, due))
            lane = following
        return found


def in_lane(due: Select[Any], rows: Table, lane: Any, now: Any, dialect: str) -> Select[Any]:
    """Narrow a selection of what is due, oldest first, to one lane."""
    if dialect != "postgresql":
        return due.where(rows.c.lane == lane)
    # Told that the lane is one, PostgreSQL may read the index on `due_at` and pass over the rows of
    # other lanes. This order only the lane's index has.
    within = (rows.c.lane >= lane, tuple_(rows.c.lane, rows.c.due_at) <= tuple_(lane, now))
    return due.where(*within).order_by(None).order_by(rows.c.lane, rows.c.due_at)


def _step(rows: Table) -> Select[Any]:
    """Select when a lane is due, and which lane follows.

    Both of a lane that is given: MariaDB reads an index to its end for one that is found.
    """
    lane: Any = bindparam("its_lane", type_=rows.c.lane.type)
    due_at = select(rows.c.due_at).where(rows.c.lane == lane, rows.c.due_at.is_not(None))
    first = due_at.order_by(rows.c.due_at).limit(1).scalar_subquery()
    following = select(func.min(rows.c.lane)).where(rows.c.lane > lane).scalar_subquery()
    return select(first, following)


def _all(rows: Table) -> Select[Any]:
    """Select each lane, and when it is due: in PostgreSQL's index NULL is the last of a lane."""
    start = select(
        literal("", rows.c.lane.type).label("lane"),
        cast(null(), rows.c.due_at.type).label("due_at"),
    )
    lanes = start.cte("lanes", recursive=True)
    after = select(rows.c.lane, rows.c.due_at).where(rows.c.lane > lanes.c.lane)
    one = after.order_by(rows.c.lane, rows.c.due_at).limit(1).lateral("one")
    each = lanes.union_all(
        select(one.c.lane, one.c.due_at).select_from(lanes.join(one, literal(True)))
    )
    return select(each.c.lane, each.c.due_at)
