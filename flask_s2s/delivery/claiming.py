"""How due deliveries are leased, on each database; a lease and its open attempt are one transaction.

SQLite: one `UPDATE ... RETURNING`, which takes the write lock with its first byte and so cannot
fail as a read that wants to write, whatever transaction mode the host chose. PostgreSQL: all in one
statement, which is a transaction by itself. MariaDB: the due rows are locked first. Both skip what
another worker has locked. Every statement is built once: a worker claims each time around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Select,
    Table,
    bindparam,
    case,
    insert,
    literal,
    null,
    select,
    type_coerce,
    update,
)

from ..tables import LEASED, Tables
from .lanes import in_lane
from .rows import delivery_of, whole
from .settlement import Delivery, Status

_NOW: Any = bindparam("its_now")
_UNTIL: Any = bindparam("its_until")
_TOKEN: Any = bindparam("its_token")
_IDS: Any = bindparam("its_ids", expanding=True)


@dataclass(frozen=True, slots=True)
class Lease:
    """What a claim stamps on the rows that it takes: whose they are, and until when."""

    token: str
    until: datetime


class Claims:
    """What leases the due deliveries of one database."""

    def __init__(self, tables: Tables) -> None:
        self._rows = tables.delivery
        self._attempts = tables.attempt
        self._opening = insert(tables.attempt)
        self._orphans = [_orphans(tables.delivery, status) for status in LEASED]
        #: By dialect, and what is taken.
        self._built: dict[tuple[str, str], tuple[Any, ...]] = {}

    def claim(
        self, engine: Engine, lease: Lease, *, limit: int, now: datetime, only: str | None
    ) -> list[Delivery]:
        """Lease what is due, oldest first, and open its attempts; return it as it is then."""
        found = {"its_now": now, "its_limit": limit}
        if only is None:
            return self._claim(engine, "any", found, lease)
        return self._claim(engine, "lane", {**found, "its_only": only}, lease)

    def reclaim(
        self, engine: Engine, lease: Lease, *, limit: int, now: datetime, closed: Sequence[str]
    ) -> list[Delivery]:
        """Lease in the same way, but only that whose lease has run out."""
        found = {"its_now": now, "its_limit": limit}
        with whole(engine) as connection:
            # Without locks: on MariaDB they would be of the place where others' claims go.
            of_these = {**found, "its_closed": list(closed)}
            ids = [id for look in self._orphans for id in connection.scalars(look, of_these)]
        return self._claim(engine, "orphans", {**found, "its_ids": ids}, lease) if ids else []

    def _claim(
        self, engine: Engine, which: str, found: dict[str, Any], lease: Lease
    ) -> list[Delivery]:
        stamp = {"its_token": lease.token, "its_until": lease.until}
        statements = self._statements(engine.dialect.name, which)
        if engine.dialect.name == "postgresql":
            with whole(engine) as connection:
                return _read(connection.execute(statements[0], {**found, **stamp}))
        with engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                claimed = _read(connection.execute(statements[0], {**found, **stamp}))
            else:
                claimed = self._locked_first(connection, statements, found, stamp)
            if claimed:
                opened = [
                    {
                        "delivery_id": d.id,
                        "number": d.attempts,
                        "lease_token": lease.token,
                        "opened_at": found["its_now"],
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
        stamp: dict[str, Any],
    ) -> list[Delivery]:
        locking, leasing, reading = statements
        ids = {"its_ids": list(connection.scalars(locking, found))}
        if not ids["its_ids"]:
            return []
        connection.execute(leasing, {**ids, **stamp})
        return _read(connection.execute(reading, ids))

    def _statements(self, dialect: str, which: str) -> tuple[Any, ...]:
        key = (dialect, which)
        if key not in self._built:
            due = _due(self._rows)
            if which == "orphans":
                due = due.where(self._rows.c.status.in_(LEASED), self._rows.c.id.in_(_IDS))
            elif which == "lane":
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
        these = rows.c.id.in_(_IDS)
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


def _orphans(rows: Table, status: str) -> Select[Any]:
    """Select the ids of what somebody still holds in this way, and whose lease has ended.

    Few are held at a time, and the index on `status` finds them. That on `due_at`, of no use to a
    sum, would be read through all that is due; and the order is that of the index, or SQLite, which
    knows only how many rows a status has on average, would read the table.
    """
    ended = type_coerce(type_coerce(rows.c.due_at, BigInteger) + 0, rows.c.due_at.type)
    held = rows.c.status == literal(status, literal_execute=True)
    closed: Any = bindparam("its_closed", expanding=True)
    found = select(rows.c.id).where(held, ended <= _NOW, rows.c.lane.not_in(closed))
    return found.order_by(rows.c.created_at).limit(bindparam("its_limit"))


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
