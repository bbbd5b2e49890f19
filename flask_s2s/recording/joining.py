"""Joining: the transaction and the connection that a conversion is written in.

A session may lead to several databases (`binds=`, a `get_bind` of its own, read replicas), so it is
asked for the bind of our table, never for its default.

Without `session=` a row goes into the session in use only where that has writes of the caller's
open; otherwise into a transaction of our own, which never waits for one of the same thread's: where
it would, it comes after that one. A thread would wait for itself on SQLite, whose one write lock an
open transaction holds, on a server for a row of ours that was written in it, and anywhere for the
connection that it has taken out of a pool without another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.pool import QueuePool

from ..errors import ConfigError, UsageError
from ..store.database.storage import Storage
from ..store.dialects.servers import commits_each_statement, has_begun_writing
from .session import has_writes, holders, holds_ours, may_hold_locks, note, unwrap, watch

log = logging.getLogger("flask_s2s.conversion")

Bind = Engine | Connection


class _LeftOut(Enum):
    LEFT_OUT = "session="

    def __repr__(self) -> str:
        return "<the session in use>"


#: What `session=` is where nothing is passed; None says: in a transaction of our own.
LEFT_OUT: Final = _LeftOut.LEFT_OUT
#: What may be passed; a function returns the session in use.
Given: TypeAlias = Session | scoped_session[Any] | Connection | Callable[[], Any] | _LeftOut | None


@dataclass(frozen=True, slots=True)
class Within:
    """In this session's transaction."""

    session: Session


@dataclass(frozen=True, slots=True)
class After:
    """In a transaction of our own, once this session's has ended."""

    session: Session


@dataclass(frozen=True, slots=True)
class Apart:
    """In a transaction of our own, now."""


class Joining:
    """Finds the transaction for one app's rows."""

    def __init__(
        self, storage: Storage, in_use: Callable[[], Session | None], *, testing: Callable[[], bool]
    ) -> None:
        """`in_use` returns the session that the app's extension has open here, if there is one."""
        # Before anybody serves: a listener that is added while another session commits fails that one.
        watch()
        self._storage = storage
        self._in_use = in_use
        self._testing = testing
        self._asked = storage.asked
        self._told_of_autocommit = False

    def joinable(self, given: Any) -> Session | Connection:
        """Return the plain session or connection, once it is sure that it leads to our tables.

        Raises `UsageError` for what is neither, `ConfigError` for another database's.
        """
        plain = unwrap(given)
        self._bind(plain)
        return plain

    def joined(self, given: Given) -> Connection | None:
        """Return the connection of a session that was passed, to write on; None: none was."""
        if given is None or given is LEFT_OUT:
            return None
        plain = self.joinable(given)
        if isinstance(plain, Session):
            note(plain)
        return self.connection(plain)

    def connection(self, session: Session | Connection) -> Connection:
        """Return the connection on which our tables are. Raises as `joinable` does."""
        bind = self._bind(session)
        found = session
        if isinstance(found, Session):
            found = found.connection(bind_arguments={"bind": bind})
        if isinstance(bind, Connection) and self._testing() and not self._storage.shared_connection:
            self._storage.borrow(bind)
        if commits_each_statement(found) and not self._told_of_autocommit:
            self._told_of_autocommit = True
            log.warning(
                "s2s.session.autocommit: session= is on an engine that commits each statement "
                "(AUTOCOMMIT), so customer and conversion do not commit together. Give the session "
                "an engine without it",
                extra={"action": "session.autocommit"},
            )
        return found

    def _bind(self, session: Session | Connection) -> Bind:
        """Return what a session is bound to for our tables. Raises as `joinable` does."""
        if isinstance(session, Connection):
            bind: Bind | None = session if self._storage.same_database(session) else None
        else:
            bind = self._bind_of(session)
        if bind is not None:
            return bind
        if isinstance(session, Session) and not list(self._binds(session)):
            raise UsageError(
                "session= is bound to no database of its own. Bind the Session to the engine "
                "of the outbox, or leave session= out."
            )
        raise ConfigError(
            "S2S_DATABASE_URI",
            "(where it is not set, the app's own database or our file) is another database than the "
            "one that session= is bound to, so the two could not commit together",
            "Set it to the session's database, or leave session= out.",
        )

    def find(self, *, join: bool = True) -> Within | After | Apart:
        """Say where a row goes for which no session was named. Raises nothing.

        `join` is False where the caller wants a transaction of our own.
        """
        try:
            return self._find(join)
        except Exception:  # noqa: BLE001 - a database that cannot be found is told where it is used
            return Apart()

    def _find(self, join: bool) -> Within | After | Apart:
        sessions = [one for one in self._open() if self._bind_of(one) is not None]
        for session in sessions:
            if join and (has_writes(session) or self._has_begun_writing(session)):
                return Within(session)
        for session in sessions:
            if holds_ours(session) or self._locks_the_file(session) or self._empties(session):
                return After(session)
        return Apart()

    def _open(self) -> Iterator[Session]:
        """Yield the sessions that this thread may have a transaction open in."""
        first = self._in_use()
        if first is not None:
            yield first
        yield from (one for one in holders() if one is not first)

    def _has_begun_writing(self, session: Session) -> bool:
        """Say whether a file's transaction was begun for a statement that we have not seen."""
        return any(has_begun_writing(one) for one in self._files(session))

    def _locks_the_file(self, session: Session) -> bool:
        if not self._storage.is_local():
            return False
        return may_hold_locks(session) or any(one.in_transaction for one in self._files(session))

    def _empties(self, session: Session) -> bool:
        """Say whether the session has one of the connections of a pool that has no other."""
        pool: Any = self._storage.engine().pool
        most = getattr(pool, "_max_overflow", -1)
        if not isinstance(pool, QueuePool) or most < 0:
            return False
        if pool.checkedout() < pool.size() + most:
            return False
        return any(one.engine.pool is pool for one in _connections(session))

    def _files(self, session: Session) -> Iterator[Any]:
        """Yield the driver's connections to our file that the session has open."""
        if not self._storage.is_local():
            return
        for one in _connections(session):
            driver = one.connection.dbapi_connection
            if self._storage.same_database(one) and hasattr(driver, "in_transaction"):
                yield driver

    def _bind_of(self, session: Session) -> Bind | None:
        # First the engine: with it the host's name for our table's bind is found.
        engine = self._storage.engine()
        for bind in self._binds(session):
            if self._storage.same_database(bind, engine):
                return bind
        return None

    def _binds(self, session: Session) -> Iterator[Bind]:
        """Yield what a session may lead to: first what it says our table's bind is."""
        for clause in self._asked:
            yield from _named(session, clause=clause)
        # `binds=` by base class or model alone: a session names none for a table of no model.
        known = vars(session)
        yield from known.get("binds", known.get("_Session__binds", {})).values()
        # Neither does a `get_bind` of the host's that knows its models alone.
        for model in {type(one) for one in session.new}:
            yield from _named(session, mapper=inspect(model))
        yield from (one.engine for one in _connections(session))


def _named(session: Session, **arguments: Any) -> list[Bind]:
    """Return the bind that a session names for these, if it names one."""
    try:
        return [session.get_bind(**arguments)]
    except Exception:  # noqa: BLE001 - UnboundExecutionError, or what a host's own raises
        return []


def _connections(session: Session) -> list[Connection]:
    """Return the connections that a session has open; asking in public would open one."""
    opened = getattr(session.get_transaction(), "_connections", {})
    return [one for one in opened if isinstance(one, Connection)]
