"""Drivers' errors, and their meanings.

The codes are read from the driver's own exception: `sqlstate` (psycopg, PyMySQL) or `pgcode` (psycopg2,
which has it from the same field), and the number that MySQL's drivers put first.
"""

from __future__ import annotations

from typing import Any

#: What a server answers that takes no writes from this connection, though it answers `SELECT 1`:
#: a replica, a primary that was demoted, one that stops or recovers. And what a connection says
#: whose prepared statements are another's: a pooler has given its server to somebody else.
_USELESS: frozenset[str | int] = frozenset(
    {
        "25006",  # read_only_sql_transaction
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P04",  # database_dropped
        "57P05",  # idle_session_timeout
        "42P05",  # duplicate_prepared_statement
        "26000",  # invalid_sql_statement_name
        1047,  # ER_UNKNOWN_COM_ERROR: a Galera node that is not part of its cluster
        1053,  # ER_SERVER_SHUTDOWN
        1290,  # ER_OPTION_PREVENTS_STATEMENT: --read-only
        1792,  # ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
        1836,  # ER_READ_ONLY_MODE
        1927,  # ER_CONNECTION_KILLED
    }
)
#: Nothing but another transaction was in the way, and this one was rolled back for it.
_TRANSIENT: frozenset[str | int] = frozenset(
    {
        "40001",  # serialization_failure, also a replica's "conflict with recovery"
        "40P01",  # deadlock_detected
        1020,  # ER_CHECKREAD, with innodb_snapshot_isolation
        1213,  # ER_LOCK_DEADLOCK, also a Galera node's failed certification
    }
)
#: A table is not where the connection looks for it. SQLite says so in words alone.
_NO_TABLE: frozenset[str | int] = frozenset(
    {
        "42P01",  # undefined_table
        1146,  # ER_NO_SUCH_TABLE
    }
)
#: A statement took longer than it may. SQLite says so in a word alone.
_GIVEN_UP: frozenset[str | int] = frozenset(
    {
        "57014",  # query_canceled
        1969,  # ER_STATEMENT_TIMEOUT
    }
)


def is_useless(error: BaseException | None) -> bool:
    """Say whether a driver's error means that its connection leads where nothing can be written."""
    return not _USELESS.isdisjoint(_codes(error))


def is_transient(error: BaseException | None) -> bool:
    """Say whether a driver's error is gone when the same transaction is tried again."""
    return not _TRANSIENT.isdisjoint(_codes(error))


def lacks_a_table(error: BaseException | None) -> bool:
    """Say whether a driver's error means that a statement names a table that is not there."""
    return not _NO_TABLE.isdisjoint(_codes(error)) or str(error).startswith("no such table")


def is_given_up(error: BaseException | None) -> bool:
    """Say whether a driver's error means that a statement took longer than it may."""
    return not _GIVEN_UP.isdisjoint(_codes(error)) or str(error) == "interrupted"


def own_words(error: Exception) -> str:
    """Return what a database said to a statement without values: the first line, and nothing of ours."""
    lines = str(getattr(error, "orig", None) or "").strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _codes(error: Any) -> list[str | int]:
    """Return all of an error's: of MySQL's, many numbers share one `sqlstate`, which PyMySQL has too."""
    named = [getattr(error, name, None) for name in ("sqlstate", "pgcode", "errno")]
    first = next(iter(getattr(error, "args", ())), None)
    if isinstance(first, int):
        named.append(first)
    return [code for code in named if isinstance(code, str | int)]
