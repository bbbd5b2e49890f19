"""One clock for all: the database's.

A worker whose own clock is minutes off would steal leases that have not ended, or let deliveries
lie. So time is this machine's clock plus an offset to the database server's, measured when a
process starts to use it and every minute by its worker. SQLite runs on this machine: no offset.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine, text

from ..clock import Clock
from ..tables import EPOCH

_MICROSECONDS = {
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
    "mysql": "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)",
    "mariadb": "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)",
}


class DatabaseClock:
    """The database server's time, as far as it has been measured."""

    def __init__(self, machine: Clock, engine: Callable[[], Engine]) -> None:
        self._machine = machine
        self._engine = engine
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return self._machine.now() + self.offset

    def measure(self) -> None:
        """Ask the database for its time. Raises what the database raises."""
        engine = self._engine()
        question = _MICROSECONDS.get(engine.dialect.name)
        if question is None:
            return
        with engine.connect() as connection:
            before = self._machine.now()
            theirs = EPOCH + timedelta(microseconds=int(connection.scalar(text(question)) or 0))
            after = self._machine.now()
        self.offset = theirs - (before + (after - before) / 2)
