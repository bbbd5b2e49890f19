"""Engines: how one is made, where it leads, and how its transactions begin and end.

A SQLite file of ours gets WAL, full synchronisation and overwriting of what it erases. A file or a
server of the host's keeps its own settings.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping
from copy import copy
from functools import partial
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine, create_engine, event, pool
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool, SingletonThreadPool, StaticPool

from .names import SQLITE, Bind


def is_local(bind: Bind | URL) -> bool:
    """Say whether the database is a file or memory of this machine: no server can be dead."""
    name = bind.get_backend_name() if isinstance(bind, URL) else bind.dialect.name
    return name == SQLITE


def in_memory(url: URL) -> bool:
    """Say whether it is nowhere but in memory."""
    return is_local(url) and (not url.database or ":memory:" in url.database)


def is_file(engine: Engine) -> bool:
    """Say whether it is a file, with connections that see each other's commits in it."""
    return is_local(engine) and not (
        isinstance(engine.pool, (StaticPool, SingletonThreadPool)) or in_memory(engine.url)
    )


def make_file_engine(url: URL, options: Mapping[str, Any]) -> Engine:
    """Make an engine of a file of ours, which survives a power cut and overwrites what it erases.

    With WAL, readers and writers do not wait for each other, and one fsync a commit is cheap.
    """
    engine = create_engine(url, **{**options, "hide_parameters": True})
    event.listen(engine, "connect", _own_settings)
    return engine


def make_impatient_engine(engine: Engine, wait: float) -> Engine:
    """Make one more engine of the same file, which waits so many seconds for a lock and no disk.

    With WAL the fsync is left to whoever commits on another one. What is erased is treated as by the
    file's other connections. It never waits for its pool on top: that grows instead.
    """
    with engine.connect() as connection:
        secure = connection.exec_driver_sql("PRAGMA secure_delete").scalar()
    own = create_engine(
        engine.url,
        connect_args={"timeout": wait},
        poolclass=QueuePool,
        pool_size=2,
        max_overflow=-1,
    )
    event.listen(own, "connect", partial(_without_fsync, secure=int(secure or 0)))
    return own


def begin_immediately(connection: Connection) -> None:
    """Begin a file's transaction with the write lock, also for statements that only define."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def journal_mode(connection: Connection) -> str:
    """Return a file's journal mode."""
    return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())


def truncate_log(engine: Engine, milliseconds: int) -> bool:
    """Empty a file's write-ahead log; say whether nothing is in it any more.

    It waits no longer than that for a reader: writers wait for it.
    """
    with engine.connect() as connection:
        usual = connection.exec_driver_sql("PRAGMA busy_timeout").scalar() or 0
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {milliseconds}")
        try:
            row = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(usual)}")
    return bool(row[0] == 0)


def _own_settings(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    _turn_to_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


#: How long a connection waits for another that turns the same file to WAL, each time, in seconds.
_PAUSE = 0.01


def _turn_to_wal(cursor: Any) -> None:
    """Turn a file to WAL. Of several that turn a new one at once, SQLite lets none wait for another."""
    (milliseconds,) = cursor.execute("PRAGMA busy_timeout").fetchone()
    # Counted in pauses of ours alone: a host's tests may have stopped what counts seconds (freezegun).
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        for left in reversed(range(int(milliseconds / 1000 / _PAUSE) + 1)):
            try:
                cursor.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or not left:
                    raise
            time.sleep(_PAUSE)
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {milliseconds}")


def _without_fsync(connection: Any, _record: Any, *, secure: int) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA secure_delete = {secure}")
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def name_of(engine: Engine) -> str:
    """Return what SQLAlchemy calls the database: for people, and for what is made once for each."""
    return engine.dialect.name


def scheme(url: URL) -> str:
    """Return what a URL begins with: the database's name, and its driver's."""
    return url.drivername


def load_driver(url: URL) -> bool:
    """Load the driver; say whether it is one for threads. Raises `ImportError` or SQLAlchemy's own."""
    dialect = url.get_dialect()
    dialect.import_dbapi()
    return not dialect.is_async


def place(url: URL) -> tuple[Any, ...]:
    """Return where a URL leads: two of the same database are alike in it."""
    name = url.get_backend_name()
    if is_local(url):
        return (name, os.path.abspath(url.database or ""))
    host = "127.0.0.1" if url.host in (None, "localhost") else url.host
    return (name, host, url.port, url.database)


def make_engine(url: URL, options: Mapping[str, Any]) -> Engine:
    """Make an engine; `options` go before what we choose ourselves. Raises what SQLAlchemy raises."""
    if is_local(url):
        return make_file_engine(url, options)
    engine = create_engine(url, **_with_options(url, options))
    if "pool_pre_ping" not in options:
        event.listen(engine, "checkin", _rest)
        event.listen(engine, "checkout", partial(_try_rested, engine.dialect))
    return engine


#: A connection that has rested for longer is tried before its use, in seconds: the server may be gone.
RESTED = 1.0


def _rest(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["rests_since"] = time.monotonic()


def _try_rested(
    dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _proxy: object
) -> None:
    """Throw a connection away that came back long ago and answers no more.

    A worker that is busy comes back within milliseconds: asked each time (`pool_pre_ping`), a quarter
    of its round trips would be that question. One that dies in between fails what it is used for, and
    that is tried once more (`transactions.write` and `read`).
    """
    since = record.info.get("rests_since")
    if since is None or time.monotonic() - since < RESTED:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def with_pool_of_its_own(engine: Engine) -> Engine:
    """Make an engine like another one, with connections of its own."""
    made = engine.pool.recreate()
    return Engine(made, engine.dialect, engine.url, hide_parameters=True)


class Transactions(Protocol):
    """Replaces begin, commit and rollback; each is told the driver's connection."""

    def begin(self, driver: Any) -> None: ...

    def commit(self, driver: Any) -> None: ...

    def rollback(self, driver: Any) -> None: ...

    def set_level(self, level: str | None) -> None: ...


#: More than one thread ever has open at once; none is closed when it comes back.
_MANY = 100


def within(connection: Connection, transactions: Transactions) -> Engine:
    """Make an engine over the driver's connection of `connection`, for the same thread."""
    driver = connection.connection.dbapi_connection
    dialect: Any = copy(connection.dialect)
    dialect.do_begin = transactions.begin
    dialect.do_commit = transactions.commit
    dialect.do_rollback = transactions.rollback
    dialect.set_isolation_level = lambda _, level: transactions.set_level(level)
    dialect.reset_isolation_level = lambda _: transactions.set_level(None)
    shared = pool.QueuePool(
        lambda: driver,  # type: ignore[arg-type]
        pool_size=_MANY,
        reset_on_return=None,
        dialect=dialect,
    )
    return Engine(shared, dialect, connection.engine.url, hide_parameters=True)


def _with_options(url: URL, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `create_engine` for a server: `options`, and ours where they say nothing.

    psycopg prepares what it runs often, under names of its own, on the connection. A pooler gives
    each transaction another server, where such a name is unknown, or somebody else's.
    """
    chosen = {**options, "hide_parameters": True}
    if "poolclass" not in options:
        chosen.setdefault("pool_use_lifo", True)  # an idle worker goes on using one connection
    if isinstance(named := chosen.get("poolclass"), str):
        chosen["poolclass"] = getattr(pool, named)  # the environment cannot give a class
    if url.get_dialect().driver in ("pymysql", "mysqldb", "mysqlconnector"):
        # Our tables are, whatever an old URL says (`charset=utf8`, latin1).
        chosen["connect_args"] = {"charset": "utf8mb4", **options.get("connect_args", {})}
    if url.get_dialect().driver in ("psycopg", "psycopg2"):
        # Of a database without an encoding (SQL_ASCII) psycopg would give bytes.
        chosen["connect_args"] = {"client_encoding": "utf8", **options.get("connect_args", {})}
    if url.get_dialect().driver == "psycopg":
        chosen["connect_args"] = {"prepare_threshold": None, **chosen["connect_args"]}
    return chosen
