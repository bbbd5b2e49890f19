"""Servers and files: locks, snapshots, clocks, notifications, and what each keeps in a power cut.

SQLite has one lock, of the whole file. A server locks rows, and a reader sees what was committed when
its statement began (PostgreSQL) or when its transaction did (MariaDB).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    Update,
    delete,
    false,
    func,
    select,
)
from sqlalchemy.engine import TwoPhaseTransaction
from sqlalchemy.exc import DBAPIError

from .engines import begin_immediately
from .errors import is_transient
from .names import MARIADB, POSTGRESQL, SQLITE, Bind

_PID = "SELECT pg_backend_pid()"
# In UTC, whatever the session's time zone is: where clocks are put back, MariaDB takes the hour that
# comes twice for the later one.
_POSTGRESQL_TIME = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
_MARIADB_TIME = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"


def has_a_clock(bind: Bind) -> bool:
    """Say whether it has a clock of its own: what is on this machine has the machine's."""
    return bind.dialect.name != SQLITE


def microseconds(connection: Connection) -> int:
    """Ask a server for its time: microseconds since 1970."""
    asked = _POSTGRESQL_TIME if connection.dialect.name == POSTGRESQL else _MARIADB_TIME
    return int(connection.exec_driver_sql(asked).scalar() or 0)


def is_pooled(connection: Connection) -> bool:
    """Say whether a pooler (PgBouncer) stands between this connection and PostgreSQL.

    Of a pooler the driver has heard another process number than the server says. A pooler that
    keeps a server for a whole session cannot be told from one that gives it to others in between.
    """
    info = getattr(connection.connection.driver_connection, "info", None)
    told = getattr(info, "backend_pid", None)
    return told is not None and told != connection.exec_driver_sql(_PID).scalar()


def prepares(connection: Connection) -> bool:
    """Say whether the driver prepares statements by itself, under names of its own."""
    return getattr(connection.connection.driver_connection, "prepare_threshold", None) is not None


def can_notify(bind: Bind) -> bool:
    """Say whether it has notifications, which a transaction sends with its commit: PostgreSQL has."""
    return bind.dialect.name == POSTGRESQL


def may_notify(connection: Connection) -> bool:
    """Say whether the transaction may notify: PostgreSQL then refuses to prepare it (two phases)."""
    return not isinstance(connection.get_transaction(), TwoPhaseTransaction)


S = TypeVar("S", bound=Select[Any])


def has_one_writer(bind: Bind) -> bool:
    """Say whether a transaction that writes has the whole database, and others wait for its end.

    So there are no rows for others to hold; and a second connection of the same thread would wait
    for the first for ever.
    """
    return bind.dialect.name == SQLITE


def begin_writing(connection: Connection, table: Table) -> None:
    """Take the one writer's lock: there a transaction that begins by reading may not be let write.

    `table` is any that is there: nothing is written to it.
    """
    if has_one_writer(connection):
        connection.execute(delete(table).where(false()))


def skip_locked(found: S, *, shared: bool = False, of: Table | None = None) -> S:
    """Lock the rows that a query finds, and leave out those that somebody else has locked.

    SQLAlchemy leaves that away for SQLite, which has no such locks. MariaDB locks the places between
    the rows that it reads as well, where others insert or claim: so where there may be none, or many
    to read, they are looked for first, without locks, and then locked by their own keys.
    """
    return found.with_for_update(read=shared, of=of, skip_locked=True)


def by_key(changing: Update, rows: Table) -> Update:
    """Let an update that names its rows by their keys touch no other.

    MariaDB reads a small table whole instead, and waits for each row of it that somebody has locked.
    """
    for dialect in MARIADB:
        changing = changing.with_hint("FORCE INDEX (PRIMARY)", rows, dialect)
    return changing


def any_key(key: Column[str]) -> ColumnElement[bool]:
    """Name a table's key where no other condition does, and leave no row out.

    MariaDB's `sql_safe_updates` refuses to change what is found without one.
    """
    return key > ""


def as_committed(found: S, bind: Bind) -> S:
    """Let a query see what others have committed since the transaction began.

    On MariaDB an ordinary one sees the transaction's snapshot, in which a row that was in the way of
    an insert may be missing.
    """
    return found.with_for_update(read=True) if bind.dialect.name in MARIADB else found


def whole(engine: Engine) -> Connection:
    """Open a connection on which each statement is a transaction by itself.

    For one that is asked all the time, and where that is a setting of the driver alone: PostgreSQL is
    then spared the beginning and the end. MariaDB's drivers would tell it of the setting, before and
    after, and SQLite begins nothing for a statement that reads.
    """
    connection = engine.connect()
    if engine.dialect.name == POSTGRESQL:
        try:
            connection.execution_options(isolation_level="AUTOCOMMIT")
        except BaseException:
            connection.close()
            raise
    return connection


def commits_each_statement(bind: Bind) -> bool:
    """Say whether somebody has made each statement a transaction by itself."""
    return level_asked_for(bind) == "AUTOCOMMIT"


def level_asked_for(bind: Bind) -> str | None:
    """Return the isolation level that somebody has chosen."""
    level: str | None = bind.get_execution_options().get("isolation_level")
    return level or getattr(bind.dialect, "_on_connect_isolation_level", None)


def usual_level(bind: Bind) -> str:
    """Return the isolation level that a database gives where nobody asks for one."""
    if bind.dialect.name == SQLITE:
        return "SERIALIZABLE"
    return "READ COMMITTED" if bind.dialect.name == POSTGRESQL else "REPEATABLE READ"


def shielded(connection: Connection) -> AbstractContextManager[Any]:
    """Return a block whose error leaves the transaction around it usable.

    PostgreSQL needs a savepoint: there an error spoils the whole transaction. SQLite has none that
    would be of use: its driver may commit with it.
    """
    return connection.begin_nested() if connection.dialect.name == POSTGRESQL else nullcontext()


def ends_the_transaction(error: Exception, connection: Connection) -> bool:
    """Say whether an error took the whole transaction with it: MariaDB rolls back a deadlock's."""
    if not isinstance(error, DBAPIError):
        return False
    rolled_back = connection.dialect.name in MARIADB and is_transient(error.orig)
    return error.connection_invalidated or rolled_back


def has_begun_writing(driver: Any) -> bool:
    """Say whether sqlite3 began a transaction: by itself it does so for a statement that writes."""
    begins_late = getattr(driver, "autocommit", -1) == -1
    return bool(driver.in_transaction and driver.isolation_level is not None and begins_late)


#: What those ask for who define tables, in PostgreSQL's words and in MariaDB's.
_DEFINING, _DEFINING_NAME = 7_385_915_201, "flask_s2s"


@contextmanager
def defining(connection: Connection) -> Iterator[None]:
    """Let one process at a time define tables of ours; the others wait, and find them there.

    Whether one is there is asked before it is made, so two at once would both make it. PostgreSQL
    gives the lock back with the transaction; in MariaDB each definition ends one, and a cluster may
    refuse such locks.
    """
    if connection.dialect.name == SQLITE:
        if not getattr(connection.connection.dbapi_connection, "in_transaction", False):
            begin_immediately(connection)
        yield
    elif connection.dialect.name == POSTGRESQL:
        connection.execute(select(func.pg_advisory_xact_lock(_DEFINING)))
        yield
    else:
        name = func.concat(_DEFINING_NAME, ".", func.database())
        with suppress(DBAPIError):
            connection.execute(select(func.get_lock(name, 60)))
        try:
            yield
        finally:
            with suppress(DBAPIError):
                connection.execute(select(func.release_lock(name)))


def is_cut_off(connection: Connection) -> bool:
    """Say whether a server leaves rows out of what it is asked for (MariaDB's `sql_select_limit`)."""
    if connection.dialect.name not in MARIADB:
        return False
    limited = "SELECT @@sql_select_limit < 18446744073709551615"
    return bool(connection.exec_driver_sql(limited).scalar())


_SQLITE = "SELECT 'synchronous = ' || synchronous FROM pragma_synchronous WHERE synchronous < 2"
_POSTGRESQL = (
    "SELECT name || ' = ' || setting FROM pg_settings"
    " WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'"
)
# 1 and 3 sync at every commit.
_INNODB = (
    "SELECT CONCAT('innodb_flush_log_at_trx_commit = ', @@innodb_flush_log_at_trx_commit)"
    " FROM DUAL WHERE @@innodb_flush_log_at_trx_commit IN (0, 2)"
)
#: Those of them that cost more than the last commits.
_DAMAGING = ("synchronous = 0", "fsync = off", "full_page_writes = off")


def forgetful_settings(connection: Connection) -> dict[str, bool]:
    """Return the settings that let a power cut cost something; True: it may be the whole database."""
    asked = _INNODB
    if connection.dialect.name == SQLITE:
        asked = _SQLITE
    elif connection.dialect.name == POSTGRESQL:
        asked = _POSTGRESQL
    found = connection.exec_driver_sql(asked).scalars()
    return {setting: setting in _DAMAGING for setting in found}


def how_to_erase(bind: Bind) -> str:
    """Say what a host's database keeps of what was erased, and what to run against it.

    SQLite leaves what was deleted in free pages, and what was changed in the write-ahead log, until
    other rows need the room.
    """
    if bind.dialect.name == SQLITE:
        return (
            "This file is the app's own, and what was erased may still be read in it: run `VACUUM`"
            " and then `PRAGMA wal_checkpoint(TRUNCATE)` on it"
        )
    name, command = "MariaDB", "OPTIMIZE TABLE"
    if bind.dialect.name == POSTGRESQL:
        name, command = "PostgreSQL", "VACUUM FULL"
    return (
        f"{name} keeps what was erased in its files until the room is used again: run"
        f" `{command}` on the s2s_ tables"
    )
