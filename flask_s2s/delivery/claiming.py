"""How due deliveries are leased, on each database; a lease and its open attempt are one transaction.

SQLite: one `UPDATE ... RETURNING`, which takes the write lock with its first byte and so cannot
fail as a read that wants to write, whatever transaction mode the host chose. PostgreSQL: all in one
statement, which is a transaction by itself. MariaDB: the due rows are locked first. Both skip what
another worker has locked. Every statement is built once: a worker claims each time around.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Table,
    bindparam,
    case,
    insert,
    null,
    select,
    update,
)

from ..tables import Tables
from .lanes import in_lane
from .rows import delivery_of, whole
from .settlement import Delivery, Status

_NOW: Any = bindparam("its_now")
_UNTIL: Any = bindparam("its_until")
_TOKEN: Any = bindparam("its_token")


class Claims:
    """What leases the due deliveries of one database."""

    def __init__(self, tables: Tables) -> None:
        self._rows = tables.delivery
        self._attempts = tables.attempt
        self._opening = insert(tables.attempt)
        #: By dialect, and whether it takes only one lane.
        self._built: dict[tuple[str, bool], tuple[Any, ...]] = {}

    def claim(
        self,
        engine: Engine,
        *,
        limit: int,
        now: datetime,
        token: str,
        until: datetime,
        only: str | None,
    ) -> list[Delivery]:
        """Lease what is due, oldest first, and open its attempts; return it as it is then."""
        found: dict[str, Any] = {"its_now": now, "its_limit": limit}
        if only is not None:
            found["its_only"] = only
        lease = {"its_token": token, "its_until": until}
        statements = self._statements(engine.dialect.name, only is not None)
        if engine.dialect.name == "postgresql":
            with whole(engine) as connection:
                return _read(connection.execute(statements[0], {**found, **lease}))
        with engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                claimed = _read(connection.execute(statements[0], {**found, **lease}))
            else:
                claimed = self._locked_first(connection, statements, found, lease)
            if claimed:
                opened = [
                    {
                        "delivery_id": d.id,
                        "number": d.attempts,
                        "lease_token": token,
                        "opened_at": now,
                    }
                    for d in claimed
                ]
                connection.execute(self._opening, opened)
        return claimed

    def _locked_first(
        self,
        connection: Connection,
        statements: tuple[Any, ...],
        found: dict[str, Any],
        lease: dict[str, Any],
    ) -> list[Delivery]:
        locking, leasing, reading = statements
        ids = {"its_ids": list(connection.scalars(locking, found))}
        if not ids["its_ids"]:
            return []
        connection.execute(leasing, {**ids, **lease})
        return _read(connection.execute(reading, ids))

    def _statements(self, dialect: str, only: bool) -> tuple[Any, ...]:
        key = (dialect, only)
        if key not in self._built:
            due = _due(self._rows)
            if only:
                lane: Any = bindparam("its_only")
                due = in_lane(due, self._rows, lane, _NOW, dialect)
            self._built[key] = self._build(dialect, due)
        return self._built[key]

    def _build(self, dialect: str, due: Select[Any]) -> tuple[Any, ...]:
        rows, leasing = self._rows, _leasing(self._rows)
        if dialect == "sqlite":
            return (leasing.where(rows.c.id.in_(due)).returning(*rows.c),)
        locking = due.with_for_update(skip_locked=True)
        if dialect == "postgresql":
            return (self._at_once(locking, leasing),)
        these = rows.c.id.in_(bindparam("its_ids", expanding=True))
        return locking, leasing.where(these), select(rows).where(these)

    def _at_once(self, locking: Select[Any], leasing: Any) -> Any:
        rows, due = self._rows, locking.cte("due")
        leased = leasing.where(rows.c.id == due.c.id).returning(*rows.c).cte("leased")
        attempt = {
            "delivery_id": leased.c.id,
            "number": leased.c.attempts,
            "lease_token": leased.c.lease_token,
            "opened_at": bindparam("its_now", type_=self._attempts.c.opened_at.type),
        }
        opening = self._opening.from_select(list(attempt), select(*attempt.values()))
        return select(leased).add_cte(opening.cte("opened"))


def _due(rows: Table) -> Select[Any]:
    """Select the ids of what is due, oldest first; leased rows are due when their lease ends."""
    found = select(rows.c.id).where(rows.c.due_at <= _NOW).order_by(rows.c.due_at)
    return found.limit(bindparam("its_limit"))


def _leasing(rows: Table) -> Any:
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
        (rows.c.lease_token, _TOKEN),
        (rows.c.due_at, _UNTIL),
        (rows.c.attempts, rows.c.attempts + 1),
    )


def _read(result: Any) -> list[Delivery]:
    return [delivery_of(row) for row in result.mappings()]
