"""Waking a worker of another process on PostgreSQL: adding a delivery notifies, workers listen.

A notification is only a hint, sent with the commit; whoever misses one finds the row by polling.
"""

from __future__ import annotations

import logging
import select
from typing import Any

from sqlalchemy import Engine, func
from sqlalchemy.sql.elements import ColumnElement

from .bell import Bell

log = logging.getLogger("flask_s2s.worker")

CHANNEL = "s2s_outbox"
#: How often the listener looks whether it is to stop, in seconds.
_LOOK = 0.5
_AGAIN = 10.0


def notification() -> ColumnElement[Any]:
    """Return the SQL that notifies when its transaction commits."""
    return func.pg_notify(CHANNEL, "")


def listen(engine: Engine, bell: Bell) -> None:
    """Ring `bell` for every notification until it says stop. Meant for a thread of its own."""
    while not bell.stopped:
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                driver = connection.connection.driver_connection
                # Made as the host makes its own, and then taken out of the pool: it is no use there.
                connection.detach()
                connection.exec_driver_sql(f"LISTEN {CHANNEL}")
                # What was committed before we listened has no notification for us.
                bell.ring()
                _ring_until_stopped(driver, bell)
        except Exception as error:  # noqa: BLE001 - polling goes on; the database may come back
            log.warning(
                "s2s.listen.failed: %s; polling goes on",
                type(error).__name__,
                extra={"action": "listen.failed"},
            )
            bell.pause(_AGAIN)


def _ring_until_stopped(connection: Any, bell: Bell) -> None:
    notified = _by_psycopg2 if hasattr(connection, "poll") else _by_psycopg
    while not bell.stopped:
        if select.select([connection], [], [], _LOOK)[0] and notified(connection):
            bell.ring()


def _by_psycopg2(connection: Any) -> bool:
    connection.poll()
    told = bool(connection.notifies)
    connection.notifies.clear()
    return told


def _by_psycopg(connection: Any) -> bool:
    # Its own generator of notifications has no time-out before 3.2.
    connection.pgconn.consume_input()
    told = False
    while connection.pgconn.notifies():
        told = True
    return told
