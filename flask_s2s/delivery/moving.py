"""Carrying an outbox to another database without losing or doubling a row.

Three steps, each repeatable, so that a crash between any two of them is mended by running it again.
*Freeze*: what is open in the old database is put out of every worker's sight. *Copy*: each row goes
over with what it is de-duplicated on, so a row that is there already stays as it is. *Retire*: the
frozen rows are settled in the old database. Rows that the site still writes there meanwhile are
delivered from there, or carried over by running it once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Select,
    Table,
    func,
    insert,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from ..errors import StorageError
from ..meta import IDENTITY_KEY
from ..tables import LEASED, OPEN, Tables

#: Added to `due_at` of a frozen row: nobody claims in the year 3000.
_FROZEN = timedelta(days=365_000)
_BATCH = 200


class Move:
    """From `old` to `new`; both have the tables."""

    def __init__(self, old: Engine, new: Engine, tables: Tables, now: datetime) -> None:
        self._old = old
        self._new = new
        self._tables = tables
        self._now = now
        self._thaw_after = now + _FROZEN / 2

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
        with self._old.begin() as connection:
            later = type_coerce(rows.c.due_at, BigInteger) + _FROZEN // timedelta(microseconds=1)
            visible = (rows.c.status.in_(OPEN), rows.c.due_at < self._thaw_after)
            # The write comes first: SQLite takes its lock with it, and what follows is consistent.
            frozen = update(rows).where(*visible, rows.c.status.not_in(LEASED))
            connection.execute(frozen.values(due_at=later))
            busy = select(func.count()).where(*visible, rows.c.due_at > self._now)
            if flying := connection.scalar(busy.where(rows.c.status.in_(LEASED))):
                raise StorageError(
                    f"{flying} deliveries are in flight",
                    "Stop the workers, wait a minute, and move again.",
                )
            orphaned = update(rows).where(*visible)
            connection.execute(orphaned.values(due_at=later))

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
            with self._new.begin() as connection:
                for row in batch:
                    self._copy_delivery(connection, row)
            yield len(batch)

    def _copy_delivery(self, connection: Connection, row: dict[str, Any]) -> None:
        rows, attempts = self._tables.delivery, self._tables.attempt
        same = (rows.c.network == row["network"], rows.c.dedupe == row["dedupe"])
        if connection.scalar(select(rows.c.id).where(*same)) is not None:
            return
        values = _without_id(row)
        if values["due_at"] is not None and values["due_at"] > self._thaw_after:
            values["due_at"] -= _FROZEN
        made = connection.execute(insert(rows), values).inserted_primary_key
        new_id = made[0] if made else None
        with self._old.connect() as old:
            tried = old.execute(select(attempts).where(attempts.c.delivery_id == row["id"]))
            carried = [
                {**_without_id(dict(one)), "delivery_id": new_id} for one in tried.mappings()
            ]
        if carried:
            connection.execute(insert(attempts), carried)

    def _retire(self) -> None:
        rows = self._tables.delivery
        with self._old.begin() as connection:
            carried = update(rows).where(rows.c.status.in_(OPEN), rows.c.due_at > self._thaw_after)
            settled = {"status": "withdrawn", "due_at": None, "settled_at": self._now}
            settled |= {"lease_token": None, "detail": "moved to another database"}
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


def _without_id(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}


def _insert_or_ignore(connection: Connection, table: Table) -> Any:
    dialect = connection.dialect.name
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return mysql.insert(table).prefix_with("IGNORE")
