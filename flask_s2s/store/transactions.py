"""Transactions of our own: they survive a useless connection, and wait for nobody's row locks.

After a failover a pool may hold connections to a server that answers, and refuses to write: asked
whether they live, they do. So a connection of an engine of `ours` that is refused in that way counts
as lost: SQLAlchemy closes it, and the others that the pool made before it when they are next asked
for; the write is tried once more. A caller's own statements on the same engine are left alone.

A host may hold a row of ours for as long as its transaction goes on: it has reported the same again.
A transaction that waits for that row while holding others makes an unrelated visitor wait too, and
where two wait for each other the database ends one of them, perhaps the page. So a transaction of our
own that writes several rows takes those that are free, and leaves the others for another time.

A host's engine may commit each statement (`isolation_level="AUTOCOMMIT"`): a lock would end with the
statement that takes it, and a claim be another worker's as well. So ours ask for the usual level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Table, Update, event, select
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from .dialects.errors import is_transient, is_useless
from .dialects.servers import (
    by_key,
    has_one_writer,
    level_asked_for,
    skip_locked,
    usual_level,
    whole,
)

T = TypeVar("T")

_OURS = "flask_s2s"


def ours(engine: Engine) -> Engine:
    """Return an engine for statements of our own, with the pool of `engine`.

    At the usual level where the host's own would not do: at a stricter one two settles fail to serialize
    for nothing, and where each statement is committed by itself none is whole.
    """
    if not event.contains(engine, "handle_error", _judge):
        event.listen(engine, "handle_error", _judge)
    usual = usual_level(engine)
    suits = level_asked_for(engine) in (None, "READ COMMITTED", usual)
    level = {} if suits else {"isolation_level": usual}
    return engine.execution_options(**{_OURS: True, **level})


def write(
    engine: Engine,
    work: Callable[[Connection], T],
    opened: Callable[[Engine], AbstractContextManager[Connection]] = Engine.begin,
) -> T:
    """Return what `work` does in a transaction of our own; `opened=whole`: in one statement.

    Where the connection was lost or useless it is done once more, on a new one; after a deadlock or
    a serialization failure, too. A connection that is lost at the commit does not tell whether it
    was made: `work` must do no harm when it was, so it inserts under an identity that it is given,
    and updates behind a fence. Raises what the database raises the second time.
    """
    try:
        with opened(engine) as connection:
            return work(connection)
    except DBAPIError as error:
        if not (error.connection_invalidated or is_transient(error.orig)):
            raise
    with opened(engine) as connection:
        return work(connection)


def read(engine: Engine, look: Callable[[Connection], T]) -> T:
    """Return what `look` reads, each statement in a transaction by itself; it is tried once more, too."""
    return write(engine, look, whole)


def _judge(context: ExceptionContext) -> None:
    connection = context.connection
    if connection is None or not connection.get_execution_options().get(_OURS):
        return
    if is_useless(context.original_exception):
        context.is_disconnect = True


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


def update_many(engine: Engine, rows: Table, changing: Update, *which: ColumnElement[bool]) -> int:
    """Update those of the rows that nobody else holds, so many in a transaction; return how many.

    By their keys: of what no key finds, a careful MariaDB (`sql_safe_updates`) changes nothing.
    """
    found, named = select(rows.c.id).where(*which), by_key(changing, rows)
    still = which if has_one_writer(engine) else ()

    def change(connection: Connection, ids: Sequence[int]) -> int:
        free = take_free(connection, rows, ids, *which)
        these = named.where(rows.c.id.in_(free), *still)
        return connection.execute(these).rowcount if free else 0

    ids = read(engine, lambda connection: connection.scalars(found).all())
    parts = [ids[at : at + AT_ONCE] for at in range(0, len(ids), AT_ONCE)]
    return sum(write(engine, partial(change, ids=part)) for part in parts)


def update_free(connection: Connection, rows: Table, changing: Update, *which: Any) -> int:
    """Update those of the rows that nobody else holds; return how many."""
    if has_one_writer(connection):
        return connection.execute(changing.where(*which)).rowcount
    found = select(rows.c.id).where(*which)
    free = list(connection.scalars(skip_locked(found)))
    parts = [free[at : at + AT_ONCE] for at in range(0, len(free), AT_ONCE)]
    named = by_key(changing, rows)
    return sum(connection.execute(named.where(rows.c.id.in_(ids))).rowcount for ids in parts)
