"""The installation's own key, which keys the hashes that de-duplicate.

It is made with the tables. A migration makes tables and no rows: there the process writes them when
it prepares, and a sign-up that comes before that must not fail. What it does instead is committed on
a connection of its own, because a key that the caller's rollback takes back must not be remembered.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine, Table, select
from sqlalchemy.exc import IntegrityError

from ..errors import StorageError
from ..meta import fill_meta


class Installation:
    """Reads the key once, and writes it where it is missing."""

    def __init__(self, engine: Callable[[], Engine], meta: Table) -> None:
        self._engine = engine
        self._meta = meta
        self._named = select(meta.c.value).where(meta.c.name == "installation")
        self._key: str | None = None

    def key(self, connection: Connection) -> str:
        """Return the key. Raises what the database raises."""
        if self._key is None:
            self._key = connection.scalar(self._named)
        if self._key is not None:
            return self._key
        if connection.dialect.name != "sqlite":
            self._key = self._write()
            return self._key
        # On SQLite another connection would wait for a lock that the caller holds.
        fill_meta(self._meta, connection)
        return _there(connection.scalar(self._named))

    def _write(self) -> str:
        try:
            with self._engine().begin() as connection:
                fill_meta(self._meta, connection)
        except IntegrityError:
            pass  # another process, or the thread that prepares, was first
        with self._engine().connect() as connection:
            return _there(connection.scalar(self._named))


def _there(key: str | None) -> str:
    if key is None:
        raise StorageError("s2s_meta has no installation key", "Run `flask s2s init-db`.")
    return key
