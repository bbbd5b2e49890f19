"""Row locks: a transaction of ours takes the rows that are free, and leaves the others for another time.

A host may hold a row of ours for as long as its transaction goes on: it has reported the same again.
A transaction that waits for that row while holding others makes an unrelated visitor wait too, and
where two wait for each other the database ends one of them, perhaps the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, Update, select

from .database.storage import Storage
from .dialects.servers import by_key, has_one_writer, skip_locked

#: Rows that one statement names.
AT_ONCE = 1000


def take_free(connection: Connection, rows: Table, ids: Sequence[int], *still: Any) -> list[int]:
    """Lock those of the rows that nobody else holds and that are `still` so; return their ids.

    Where a writer has the whole database, nothing is read and nothing left out: what is written
    then repeats the condition.
    """
    if not ids or has_one_writer(connection):
        return list(ids)
    found = select(rows.c.id).where(rows.c.id.in_(ids), *still)
    return list(connection.scalars(skip_locked(found)))


def update_many(
    storage: Storage, rows: Table, changing: Update, *which: ColumnElement[bool]
) -> int:
    """Update those of the rows that nobody else holds, so many in a transaction; return how many.

    By their keys: of what no key finds, a careful MariaDB (`sql_safe_updates`) changes nothing.
    """
    found, named = select(rows.c.id).where(*which), by_key(changing, rows)
    still = which if has_one_writer(storage.engine()) else ()

    def change(connection: Connection, ids: Sequence[int]) -> int:
        free = take_free(connection, rows, ids, *which)
        these = named.where(rows.c.id.in_(free), *still)
        return connection.execute(these).rowcount if free else 0

    ids = storage.read(lambda connection: connection.scalars(found).all())
    parts = [ids[at : at + AT_ONCE] for at in range(0, len(ids), AT_ONCE)]
    return sum(storage.write(partial(change, ids=part)) for part in parts)


def update_free(connection: Connection, rows: Table, changing: Update, *which: Any) -> int:
    """Update those of the rows that nobody else holds; return how many."""
    if has_one_writer(connection):
        return connection.execute(changing.where(*which)).rowcount
    found = select(rows.c.id).where(*which)
    free = list(connection.scalars(skip_locked(found)))
    parts = [free[at : at + AT_ONCE] for at in range(0, len(free), AT_ONCE)]
    named = by_key(changing, rows)
    return sum(connection.execute(named.where(rows.c.id.in_(ids))).rowcount for ids in parts)
