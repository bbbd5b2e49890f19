"""Waking a worker of another process on PostgreSQL: adding a delivery notifies, workers listen.

A notification is only a hint, sent with the commit; whoever misses one finds the row by polling.
Behind a pooler nobody listens: what was notified goes to a connection that is somebody else's by then.
Whether notifications come through is tried, again and again, by one of our own: what stands between
us and the server may swallow them, and a connection may be dead without a word. Until one has come
back the worker polls as if there were none.
"""

from __future__ import annotations

import logging
import select
from time import monotonic
from typing import Any

from sqlalchemy import Engine, func
from sqlalchemy import select as sql_select
from sqlalchemy.sql.elements import ColumnElement

from ...threads import Waker
from ..dialects.servers import is_pooled

log = logging.getLogger("flask_s2s.worker")

CHANNEL = "s2s_outbox"
#: What a notification says that is only a trial.
_TRIAL = "trial"
#: How often the listener looks whether it is to stop, in seconds.
_LOOK = 0.5
_AGAIN = 10.0
#: How often it is tried whether notifications come through, in seconds.
TRY_EVERY = 30.0


def notification() -> ColumnElement[Any]:
    """Return the SQL that notifies when its transaction commits."""
    return func.pg_notify(CHANNEL, "")


def listen(engine: Engine, waker: Waker, *, try_every: float = TRY_EVERY) -> None:
    """Ring `waker` for every notification until it says stop. Meant for a thread of its own."""
    while not waker.stopped:
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                if is_pooled(connection):
                    _tell_polling()
                    return
                driver = connection.connection.driver_connection
                # Made as the host makes its own, and then taken out of the pool: it is no use there.
                connection.detach()
                connection.exec_driver_sql(f"LISTEN {CHANNEL}")
                # What was committed before we listened has no notification for us.
                waker.wake()
                _wake_until_stopped(engine, driver, waker, try_every)
        except Exception as error:  # noqa: BLE001 - polling goes on; the database may come back
            waker.heard = False
            log.warning(
                "s2s.listen.failed: %s; polling goes on",
                type(error).__name__,
                extra={"action": "listen.failed"},
            )
            waker.pause(_AGAIN)


def _tell_polling() -> None:
    log.info(
        "s2s.listen.pooled: a pooler stands before PostgreSQL and keeps no notifications; polling",
        extra={"action": "listen.pooled"},
    )


def _wake_until_stopped(engine: Engine, connection: Any, waker: Waker, try_every: float) -> None:
    notified = _by_psycopg2 if hasattr(connection, "poll") else _by_psycopg
    tried_at, came_back = -try_every, True
    while not waker.stopped:
        if monotonic() - tried_at >= try_every:
            if waker.heard and not came_back:
                raise ConnectionError("notifications come through no more")
            tried_at, came_back = monotonic(), False
            _try(engine)
        if select.select([connection], [], [], min(_LOOK, try_every))[0]:
            told = notified(connection)
            if any(words != _TRIAL for words in told):
                waker.wake()
            if told:
                waker.heard = came_back = True


def _try(engine: Engine) -> None:
    """Notify by a connection of its own: on the listener's even a pooler would give it back."""
    with engine.connect() as connection:
        # Not left in the pool, where the worker needs one.
        connection.detach()
        connection.execute(sql_select(func.pg_notify(CHANNEL, _TRIAL)))
        connection.commit()


def _by_psycopg2(connection: Any) -> list[str]:
    connection.poll()
    told = [notify.payload for notify in connection.notifies]
    connection.notifies.clear()
    return told


def _by_psycopg(connection: Any) -> list[str]:
    # Its own generator of notifications has no time-out before 3.2.
    connection.pgconn.consume_input()
    told = []
    while notify := connection.pgconn.notifies():
        told.append(notify.extra.decode())
    return told
