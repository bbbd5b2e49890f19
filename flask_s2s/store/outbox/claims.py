"""Claims: due deliveries are leased; a lease and its open attempt are one transaction.

With one writer: one `UPDATE ... RETURNING`, which takes the write lock with its first byte and so
cannot fail as a read that wants to write, whatever transaction mode the host chose. Where writes can
be chained: all in one statement, which is a transaction by itself. Else the due rows are locked first.
The latter two skip what another worker has locked. Every statement is built once: a worker claims each
time around.
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

from ...rules.delivery import Delivery
from ...rules.states import LEASED, Status
from ..dialects.engines import name_of
from ..dialects.servers import by_key, has_one_writer, skip_locked
from ..dialects.statements import by_index, chains_writes, in_order
from ..schema import Tables
from ..transactions import whole, write
from .rows import delivery_of

#: What came of an attempt whose lease ran out: nobody knows.
_ABANDONED = "ambiguous"
_NOW: Any = bindparam("its_now")
_UNTIL: Any = bindparam("its_until")
_TOKEN: Any = bindparam("its_token")
_IDS: Any = bindparam("its_ids", expanding=True)
#: Among how many that came due last a probe is chosen, and how many of them are tried to be had.
_LATEST, _CANDIDATES = 200, 3


@dataclass(frozen=True, slots=True)
class Lease:
    """The stamp of a claim on the rows that it takes: whose they are, and until when."""

    token: str
    until: datetime


class Claims:
    """Leases the due deliveries of one database."""

    def __init__(self, tables: Tables) -> None:
        self._rows = tables.delivery
        self._attempts = tables.attempt
        self._opening = insert(tables.attempt)
        self._left_open, self._abandoning = _abandoned(tables.attempt)
        self._orphans = [_orphans(tables.delivery, status) for status in LEASED]
        #: By the database's name, and what is taken.
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
            # Without locks (see `skip_locked`): they would be of the place where others' claims go.
            of_these = {**found, "its_closed": list(closed)}
            ids = [id for look in self._orphans for id in connection.scalars(look, of_these)]
        return self._claim(engine, "orphans", {**found, "its_ids": ids}, lease) if ids else []

    def probe(self, engine: Engine, lease: Lease, *, now: datetime, lane: str) -> list[Delivery]:
        """Lease one of a lane: the newest of those that were tried least, of what came due last."""
        look = self._latest(engine)
        with whole(engine) as connection:
            found = connection.execute(look, {"its_only": lane, "its_now": now}).all()
        for one in sorted(found, key=lambda one: (one.attempts, -one.id))[:_CANDIDATES]:
            this = {"its_now": now, "its_limit": 1, "its_ids": [one.id]}
            if claimed := self._claim(engine, "these", this, lease):
                return claimed
        return []

    def _latest(self, engine: Engine) -> Select[Any]:
        key = (name_of(engine), "latest")
        if key not in self._built:
            rows = self._rows
            lane: Any = bindparam("its_only")
            due_at = rows.c.due_at
            due = select(rows.c.id, rows.c.attempts).where(due_at <= _NOW)
            found = by_index(due, engine, (rows.c.lane, due_at), lane, _NOW).order_by(None)
            backwards = (rows.c.lane.desc(), rows.c.due_at.desc())
            self._built[key] = (found.order_by(*backwards).limit(_LATEST),)
        latest: Select[Any] = self._built[key][0]
        return latest

    def _claim(
        self, engine: Engine, which: str, found: dict[str, Any], lease: Lease
    ) -> list[Delivery]:
        stamp = {"its_token": lease.token, "its_until": lease.until}
        statements = self._statements(engine, which)
        given = {**found, **stamp}

        def at_once(connection: Connection) -> list[Delivery]:
            return _read(connection.execute(statements[0], given))

        def in_steps(connection: Connection) -> list[Delivery]:
            if has_one_writer(engine):
                claimed = at_once(connection)
            else:
                claimed = self._locked_first(connection, statements, found, stamp)
            if claimed:
                self._close_abandoned(connection, claimed, found["its_now"])
                opened = [
                    {
                        "delivery_id": d.id,
                        "number": d.attempts,
                        "lane": d.lane,
                        "lease_token": lease.token,
                        "opened_at": found["its_now"],
                    }
                    for d in claimed
                ]
                connection.execute(self._opening, opened)
            return claimed

        if chains_writes(engine):
            return write(engine, at_once, opened=whole)
        return write(engine, in_steps)

    def _close_abandoned(
        self, connection: Connection, claimed: Sequence[Delivery], now: datetime
    ) -> None:
        """Close the attempts of whoever held these before: they can close none any more."""
        taken_over = [one.id for one in claimed if one.ambiguous_at is not None]
        if not taken_over:
            return
        # By their own keys (see `skip_locked`).
        attempts = list(connection.scalars(self._left_open, {"its_rows": taken_over}))
        if attempts:
            connection.execute(self._abandoning, {"its_attempts": attempts, "its_now": now})

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

    def _statements(self, engine: Engine, which: str) -> tuple[Any, ...]:
        key = (name_of(engine), which)
        if key not in self._built:
            due = _due(self._rows)
            if which == "these":
                due = due.where(self._rows.c.id.in_(_IDS))
            elif which == "orphans":
                due = due.where(self._rows.c.status.in_(LEASED), self._rows.c.id.in_(_IDS))
            elif which == "lane":
                lane: Any = bindparam("its_only")
                columns = (self._rows.c.lane, self._rows.c.due_at)
                due = by_index(due, engine, columns, lane, _NOW)
            self._built[key] = self._build(engine, due)
        return self._built[key]

    def _build(self, engine: Engine, due: Select[Any]) -> tuple[Any, ...]:
        rows, leasing = self._rows, _leasing(self._rows)
        if has_one_writer(engine):
            return (leasing.where(rows.c.id.in_(due)).returning(*rows.c),)
        locking = skip_locked(due)
        if chains_writes(engine):
            return (self._at_once(locking, leasing),)
        these = rows.c.id.in_(_IDS)
        return locking, by_key(leasing.where(these), rows), select(rows).where(these)

    def _at_once(self, locking: Select[Any], leasing: Any) -> Any:
        rows, due = self._rows, locking.cte("due")
        leased = leasing.where(rows.c.id == due.c.id).returning(*rows.c).cte("leased")
        attempt = {
            "delivery_id": leased.c.id,
            "number": leased.c.attempts,
            "lane": leased.c.lane,
            "lease_token": leased.c.lease_token,
            "opened_at": bindparam("its_now", type_=self._attempts.c.opened_at.type),
        }
        opening = self._opening.from_select(list(attempt), select(*attempt.values()))
        attempts = self._attempts
        left_open = (attempts.c.delivery_id == leased.c.id, attempts.c.closed_at.is_(None))
        abandoned = (
            update(attempts)
            .where(*left_open, leased.c.ambiguous_at.is_not(None))
            .values(closed_at=attempt["opened_at"], outcome=_ABANDONED)
        )
        return select(leased).add_cte(opening.cte("opened"), abandoned.cte("abandoned"))


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


def _abandoned(attempts: Table) -> tuple[Any, Any]:
    """Return what finds the open attempts of some deliveries, and what closes attempts."""
    these = attempts.c.delivery_id.in_(bindparam("its_rows", expanding=True))
    finding = select(attempts.c.id).where(these, attempts.c.closed_at.is_(None))
    closing = update(attempts).where(attempts.c.id.in_(bindparam("its_attempts", expanding=True)))
    now: Any = bindparam("its_now", type_=attempts.c.closed_at.type)
    return finding, closing.values(closed_at=now, outcome=_ABANDONED)


def _leasing(rows: Table) -> Any:
    # A row that is still `sending` has an attempt that nobody closed: it may have arrived, at the
    # latest when its lease ended.
    unjudged = case(
        (rows.c.status == Status.SENDING.value, rows.c.due_at), else_=rows.c.ambiguous_at
    )
    # And its record would be newer than any that was read.
    anew = case((rows.c.status == Status.SENDING.value, null()), else_=rows.c.read_to)
    return in_order(
        update(rows),
        (rows.c.ambiguous_at, unjudged),
        (rows.c.read_to, anew),
        (rows.c.status, Status.SENDING.value),
        (rows.c.lease_token, _TOKEN),
        (rows.c.due_at, _UNTIL),
        (rows.c.attempts, rows.c.attempts + 1),
    )


def _read(result: Any) -> list[Delivery]:
    return [delivery_of(row) for row in result.mappings()]
