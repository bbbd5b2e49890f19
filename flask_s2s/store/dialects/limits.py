"""A limit on how long a statement may take: the database itself gives it up, so that nothing runs on.

PostgreSQL has a setting of the transaction, MariaDB one of the statement. SQLite asks a function of
ours between its steps; it counts nothing while it fetches, when most of the work has been done.
MySQL is asked for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidRequestError

from ...errors import TooSlow
from .errors import is_given_up
from .names import POSTGRESQL, SQLITE
from .servers import commits_each_statement

#: How many of its instructions SQLite executes before it asks again.
_STEPS = 10_000
#: The limit of a connection, in seconds.
_LIMIT = "flask_s2s_limit"


def within(seconds: float | None, engine: Callable[[], Engine]) -> Callable[[], Engine]:
    """Return the same database; with a limit, one that gives up what takes longer (`TooSlow`)."""
    return engine if seconds is None else lambda: with_limit(engine(), seconds)


def with_limit(engine: Engine, seconds: float) -> Engine:
    """Return an engine of the same connections, where reading longer raises `TooSlow`."""
    limited: Engine = engine.execution_options(**{_LIMIT: seconds})
    try:
        _watch(limited, seconds)
    except InvalidRequestError:
        # In older SQLAlchemy (2.0.25) no event is of an engine with options that has others. One that is
        # made anew has them all, but the host's own events of its engine.
        options = limited.get_execution_options()
        limited = Engine(engine.pool, engine.dialect, engine.url, execution_options=options)
        _watch(limited, seconds)
    return limited


def _watch(engine: Engine, seconds: float) -> None:
    # A dialect tells of errors, and the host's connections have the same one.
    if not event.contains(engine.dialect, "handle_error", _give_up):
        event.listen(engine.dialect, "handle_error", _give_up)

    def begins(connection: Connection) -> None:
        if not commits_each_statement(connection):
            # By a cursor of the driver's own: the statement may be one that a cursor of the server's reads.
            with _driver(connection).cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")

    def limits(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        return f"SET STATEMENT max_statement_time = {seconds} FOR {statement}", parameters

    def starts(connection: Connection, *_: Any) -> None:
        until = monotonic() + seconds
        _driver(connection).set_progress_handler(lambda: monotonic() > until, _STEPS)

    if engine.dialect.name == POSTGRESQL:
        event.listen(engine, "begin", begins)
    elif engine.dialect.name == SQLITE:
        event.listen(engine, "before_cursor_execute", starts)
        event.listen(engine, "after_cursor_execute", _end)
    elif getattr(engine.dialect, "is_mariadb", False):
        event.listen(engine, "before_cursor_execute", limits, retval=True)


def _end(connection: Connection, *_: Any) -> None:
    _driver(connection).set_progress_handler(None, _STEPS)


def _give_up(context: ExceptionContext) -> None:
    connection, error = context.connection, context.original_exception
    seconds = None if connection is None else connection.get_execution_options().get(_LIMIT)
    if connection is None or seconds is None:
        return
    if connection.dialect.name == SQLITE:
        _end(connection)
    if is_given_up(error):
        raise TooSlow(seconds) from error


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection
