"""Carrying an outbox to another database without losing or doubling a row.

Three steps, each repeatable, so that a crash between any two of them is mended by running it again.
*Freeze*: what is open in the old database is put out of every worker's sight, and out of reach of a
lease that has run out, a view that is late and a lane that opens. *Copy*: what is frozen and what is
settled goes over with what it is de-duplicated on; a row that is there already stays as it is, unless
it has nothing to send, or had only moved away from there. *Retire*: the frozen rows are settled in
the old database, without what they would send. What the site writes there meanwhile is not frozen:
it is delivered from there, or carried over by running it once more.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from ..errors import StorageError
from ..meta import IDENTITY_KEY
from ..tables import LEASED, OPEN, Tables
from .frozen import FROZEN, FROZEN_FROM, MOVED, frozen, has_moved_away, thawed
from .kin import call_children
from .rows import delivery_of

_BATCH = 200
#: These have nothing to send: no other row gives way to them.
_NOTHING = ("unattributed", "invalid", "withdrawn", "dry_run")


class Move:
    """From `old` to `new`; both have the tables."""

    def __init__(self, old: Engine, new: Engine, tables: Tables, now: datetime) -> None:
        self._old = old
        self._new = new
        self._tables = tables
        self._now = now
        #: How many rows were settled as moved before, and are not where this move goes to.
        self.elsewhere = 0
        self._left: set[int] = set()
        self._read_to = 0

    def total(self) -> int:
        """Return how many rows there are to carry."""
        with self._old.connect() as connection:
            counts = (
                connection.scalar(select(func.count()).select_from(table))
                for table in (self._tables.delivery, self._tables.click, self._tables.binding)
            )
            return sum(count or 0 for count in counts)

    def run(self) -> Iterator[int]:
        """Move everything; yield after each batch how many rows it had."""
        self._same_installation()
        self._freeze()
        self._copy_keys()
        yield from self._copy_all(self._tables.click)
        yield from self._copy_all(self._tables.binding)
        self._copy_handles()
        yield from self._copy_deliveries()
        self._retire()

    def written_meanwhile(self) -> int:
        """Return how many deliveries the site has written since, which are not carried."""
        rows = self._tables.delivery
        unfrozen = and_(rows.c.status.in_(OPEN), not_(frozen(rows)))
        since = select(rows.c.id).where(or_(rows.c.id > self._read_to, unfrozen))
        with self._old.connect() as connection:
            return len(self._left.union(connection.scalars(since)))

    def _same_installation(self) -> None:
        meta, rows = self._tables.meta, self._tables.delivery
        key = select(meta.c.value).where(meta.c.name == "installation")
        with self._old.connect() as connection:
            ours = connection.scalar(key)
        with self._new.begin() as connection:
            if connection.scalar(key) == ours:
                return
            if connection.scalar(select(func.count()).select_from(rows)):
                raise StorageError(
                    "The other database has deliveries of another installation",
                    "Move to a database whose tables are new.",
                )
            same = update(meta).where(meta.c.name == "installation")
            connection.execute(same.values(value=ours))

    def _freeze(self) -> None:
        rows = self._tables.delivery
        later = type_coerce(rows.c.due_at, BigInteger) + FROZEN // timedelta(microseconds=1)
        visible = (rows.c.status.in_(OPEN), not_(frozen(rows)))
        with self._old.begin() as connection:
            # The writes come first: SQLite takes its lock with them, and what follows is consistent.
            connection.execute(self._reviving())
            idle = update(rows).where(*visible, rows.c.status.not_in(LEASED))
            # A lane that opens makes due what it held.
            unheld = case((rows.c.status == "held", "pending"), else_=rows.c.status)
            connection.execute(idle.values(due_at=later, status=unheld))
            busy = select(func.count()).where(*visible, rows.c.due_at > self._now)
            if flying := connection.scalar(busy.where(rows.c.status.in_(LEASED))):
                raise StorageError(
                    f"{flying} deliveries are in flight",
                    "Stop the workers, wait a minute, and move again.",
                )
            # Whoever held these leases may still come back: to a row that is not theirs any more.
            unheard = update(rows).where(*visible, rows.c.status == "sending")
            connection.execute(unheard.values(due_at=later, lease_token=secrets.token_hex(16)))
            unanswered = update(rows).where(*visible, rows.c.status == "armed")
            connection.execute(unanswered.values(due_at=later, status="pending", lease_token=None))

    def _reviving(self) -> Any:
        """What was given up here because what it waited for had moved waits there again."""
        rows = self._tables.delivery
        orphaned = (rows.c.status == "unattributed", rows.c.detail.endswith(f": {MOVED}"))
        waiting = {"status": "waiting", "due_at": self._now, "settled_at": None}
        return update(rows).where(*orphaned).values(**waiting)

    def _copy_keys(self) -> None:
        """Carry the keys under which identities were hashed."""
        meta = self._tables.meta
        self._copy(meta, select(meta).where(meta.c.name.startswith(IDENTITY_KEY)))

    def _copy_handles(self) -> None:
        """Carry who has used which handle: they live for hours, so there are few."""
        self._copy(self._tables.handle, select(self._tables.handle))

    def _copy(self, table: Table, some: Select[Any]) -> None:
        with self._old.connect() as old:
            rows = [dict(row) for row in old.execute(some).mappings()]
        if rows:
            with self._new.begin() as connection:
                connection.execute(_insert_or_ignore(connection, table), rows)

    def _copy_all(self, table: Table) -> Iterator[int]:
        """Carry a table whose rows wait for nothing; what is there already stays as it is."""
        for batch in self._batches(table):
            with self._new.begin() as connection:
                statement = _insert_or_ignore(connection, table)
                connection.execute(statement, [_without_id(row) for row in batch])
            yield len(batch)

    def _copy_deliveries(self) -> Iterator[int]:
        for batch in self._batches(self._tables.delivery):
            self._read_to = batch[-1]["id"]
            late = {row["id"] for row in batch if _is_late(row)}
            self._left |= late
            carried = [row for row in batch if row["id"] not in late]
            with self._new.begin() as connection:
                for row in carried:
                    self._copy_delivery(connection, row)
            yield len(carried)

    def _copy_delivery(self, connection: Connection, row: Any) -> None:
        rows, moved = self._tables.delivery, has_moved_away(row)
        same = (rows.c.network == row["network"], rows.c.dedupe == row["dedupe"])
        there = connection.execute(select(rows).where(*same)).mappings().one_or_none()
        if moved:
            self.elsewhere += there is None or has_moved_away(there)
            return
        values = {**_without_id(row), "due_at": thawed(row["due_at"])}
        if there is None:
            made = connection.execute(insert(rows), values).inserted_primary_key
            self._copy_attempts(connection, row["id"], made[0] if made else None)
        elif _gives_way(there, row):
            # Under what it was: the site may write there already.
            this = (rows.c.id == there["id"], rows.c.status == there["status"])
            if connection.execute(update(rows).where(*this).values(**values)).rowcount:
                self._copy_attempts(connection, row["id"], there["id"])
                call_children(connection, rows, [delivery_of(row)], self._now)

    def _copy_attempts(self, connection: Connection, old_id: int, new_id: int | None) -> None:
        attempts = self._tables.attempt
        with self._old.connect() as old:
            tried = old.execute(select(attempts).where(attempts.c.delivery_id == old_id))
            carried = [
                {**_without_id(dict(one)), "delivery_id": new_id} for one in tried.mappings()
            ]
        connection.execute(delete(attempts).where(attempts.c.delivery_id == new_id))
        if carried:
            connection.execute(insert(attempts), carried)

    def _retire(self) -> None:
        rows = self._tables.delivery
        with self._old.begin() as connection:
            carried = update(rows).where(rows.c.status.in_(OPEN), frozen(rows))
            settled = {"status": "withdrawn", "due_at": None, "settled_at": self._now}
            # Nobody can send from here what is sent from there.
            settled |= {"lease_token": None, "detail": MOVED, "conversion": None}
            connection.execute(carried.values(**settled))

    def _batches(self, table: Table) -> Iterator[list[dict[str, Any]]]:
        last = 0
        while True:
            some = select(table).where(table.c.id > last).order_by(table.c.id).limit(_BATCH)
            with self._old.connect() as connection:
                batch = [dict(row) for row in connection.execute(some).mappings()]
            if not batch:
                return
            last = batch[-1]["id"]
            yield batch


def _is_late(row: dict[str, Any]) -> bool:
    """Say whether the site wrote a row, or opened it again, since what was open was frozen."""
    return row["status"] in OPEN and row["due_at"] < FROZEN_FROM


def _gives_way(there: Any, row: dict[str, Any]) -> bool:
    """Say whether the row there has moved away, or has nothing to send where this one has."""
    if has_moved_away(there):
        return True
    # What was erased on request stays so.
    empty = there["status"] == "unattributed" or (
        there["status"] == "withdrawn" and there["conversion"] is not None
    )
    return empty and row["status"] not in _NOTHING


def _without_id(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}


def _insert_or_ignore(connection: Connection, table: Table) -> Any:
    dialect = connection.dialect.name
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return mysql.insert(table).prefix_with("IGNORE")
