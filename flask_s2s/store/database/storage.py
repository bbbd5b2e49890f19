"""The database of one app, and transactions of our own in it.

It is found at first use, prepared once a process, and never carried over a fork.

Our own SQLite file (the default) is made here. A database that belongs to the host keeps its settings, and its tables are made by the host's migration or `flask s2s init-db`.

A fork. SQLite counts its locks per process: what a child opens beside an inherited connection takes
no lock of its own, and whoever else closes the file last then deletes the WAL that the child goes
on committing to. So no idle connection to a file is open while the process forks, and a child that
was forked behind Python's back (uWSGI) closes what it inherited before it opens anything. A
server's connections are only let go of: closing one would end the parent's.

A failover. A pool may then hold connections to a server that answers, and refuses to write: asked
whether they live, they do. So a connection of an engine of `ours` that is refused in that way counts
as lost: SQLAlchemy closes it, and the others that the pool made before it when they are next asked
for; the write is tried once more. A caller's own statements on the same engine are left alone.

A host's engine may commit each statement (`isolation_level="AUTOCOMMIT"`): a lock would end with the
statement that takes it, and a claim be another worker's as well. So ours ask for the usual level.
"""

from __future__ import annotations

import logging
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from threading import Lock, get_ident
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, MetaData, Table, event, inspect, select, text, update
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from ... import threads
from ...errors import StorageError
from ..dialects import engines
from ..dialects.engines import in_memory, is_file, is_local
from ..dialects.errors import is_transient, is_useless
from ..dialects.servers import defining, is_cut_off, level_asked_for, usual_level, whole
from ..schema import SCHEMA_VERSION, Tables, define_tables, fill_meta, is_filled
from .opening import OpenFile, Opening, lend

T = TypeVar("T")

log = logging.getLogger("flask_s2s")


def tables_missing() -> StorageError:
    """Return the error of a connection that finds none of our tables."""
    return StorageError(
        "The tables of Flask-S2S are missing",
        "Run `flask s2s init-db`, or add define_tables(metadata) to your migrations. Are they in a "
        "schema of their own? Name it in S2S_SCHEMA.",
    )


class Storage:
    """The database of one app's rows."""

    def __init__(
        self,
        *,
        uri: str | None,
        host: Callable[[], Engine | None],
        folder: Path,
        options: Mapping[str, Any] = MappingProxyType({}),
        schema: str | None = None,
        testing: Callable[[], bool] = bool,
    ) -> None:
        """`options` are of `create_engine`, for the engine that `uri` makes.

        While `testing`, the file that nobody named is in a folder that goes with this object.
        """
        self._opening = Opening(uri=uri, host=host, folder=folder, options=options, testing=testing)
        # A lock for each process: one that is held while another thread forks is never given back.
        self._locks: dict[int, Lock] = {}
        self._apart: dict[int, Engine] = {}
        self._engine: Engine | None = None
        self._made = False
        self._file: OpenFile | None = None
        # The host may have used its engine before it is asked for, and the process may fork between.
        self._pid = os.getpid()
        #: Whether the database is a file of our own, which is made without asking.
        self.ours = False
        self.metadata = MetaData(schema=schema)
        self.tables: Tables = define_tables(self.metadata)
        for table in self.metadata.tables.values():
            # A `schema_translate_map` of the caller's moves its own tables, and the worker has none.
            table._use_schema_map = False
        #: What a session is asked for the bind of: a write to our table, and the table.
        self.asked = (update(self.tables.delivery), self.tables.delivery)
        #: A test's connection, the thread it is lent in, and the engine over it.
        self._lent: tuple[weakref.ref[Connection], int, Engine] | None = None
        #: Called with each closing around a fork: others have connections to the same file.
        self.at_fork: Callable[[], None] = lambda: None
        _close_before_forks(self)

    def engine(self) -> Engine:
        """Return the engine; one that was made before a fork gets a new pool first."""
        if threads.GEVENT in sys.modules and (thread := threads.apart()) is not None:
            return self._engine_of(thread)
        return self._shared()

    def _engine_of(self, thread: int) -> Engine:
        """Return the engine of a real thread under gevent: like the pages', with its own pool."""
        shared = self._shared()
        own = self._apart.get(thread)
        if own is None:
            own = self._apart[thread] = ours(engines.with_pool_of_its_own(shared))
            threads.at_end(lambda: self._leave(thread))
        return own

    def _leave(self, thread: int) -> None:
        if (own := self._apart.pop(thread, None)) is not None:
            own.dispose()

    def _shared(self) -> Engine:
        engine, pid = self._engine, os.getpid()
        if self._lent is not None and (lent := self._lent_here()) is not None:
            return lent
        if engine is not None and self._pid == pid and not self._is_replaced():
            return engine
        with self._locks.setdefault(pid, Lock()):
            if self._engine is not None and self._pid == pid and self._is_replaced():
                self._start_anew(self._engine)
            if self._engine is None:
                self._engine = self._find()
            if self._pid != pid:
                self._let_go(self._engine)
                self._apart.clear()
            self._pid = pid
            return self._engine

    def _find(self) -> Engine:
        found = self._opening.find()
        self._made, self._file, self.ours = found.made, found.file, found.file is not None
        return ours(found.engine)

    def read(self, look: Callable[[Connection], T]) -> T:
        """Return what `look` reads, each statement in a transaction by itself; see `write`."""
        return write(self.engine(), look, whole)

    def write(
        self,
        work: Callable[[Connection], T],
        opened: Callable[[Engine], AbstractContextManager[Connection]] = Engine.begin,
    ) -> T:
        """Return what `work` does in a transaction of our own: see the function `write`."""
        return write(self.engine(), work, opened)

    def connect(self) -> Connection:
        """Open a connection, for statements that are not tried again."""
        return self.engine().connect()

    def borrow(self, connection: Connection) -> None:
        """Work within the transaction of a test's connection, in this thread and while it is open."""
        if self._lent is None or self._lent[0]() is not connection:
            self._lent = (weakref.ref(connection), get_ident(), lend(connection))

    def is_lent(self) -> bool:
        """Whether this thread works within a test's transaction, which will be rolled back."""
        return self._lent_here() is not None

    def _lent_here(self) -> Engine | None:
        if self._lent is None:
            return None
        lent, thread, engine = self._lent
        connection = lent()
        if connection is None or connection.closed or not connection.in_transaction():
            self._lent = None
            return None
        return engine if thread == get_ident() else None

    def _is_replaced(self) -> bool:
        return self._file is not None and self._file.is_another()

    def _start_anew(self, engine: Engine) -> None:
        """Our own file is gone, or another one is in its place: go on with what is there now."""
        log.critical(
            "s2s.storage.replaced: the outbox's file %s was deleted or replaced under the running "
            "site. What the old one held is out of reach; recording goes on in the new one. If a "
            "backup was put there, run `flask s2s restored`",
            engine.url.database,
            extra={"action": "storage.replaced"},
        )
        self.at_fork()
        engine.dispose()
        self._engine = None
        found = self._find()
        self.metadata.create_all(found)
        self._engine = found

    def before_fork(self) -> None:
        """Close what is idle of a SQLite file's connections; the next use opens them again."""
        engine = self._engine
        if engine is not None and self._pid == os.getpid() and is_file(engine):
            self._let_go(engine)
            for own in list(self._apart.values()):
                own.dispose()

    def _let_go(self, engine: Engine) -> None:
        if is_file(engine):
            self.at_fork()
            engine.dispose()
        elif not is_local(engine):  # memory is the process's own copy
            engine.dispose(close=False)

    @property
    def shared_connection(self) -> bool:
        """Whether all use one connection, so that our commit would be the caller's commit."""
        return isinstance(self.engine().pool, StaticPool)

    @property
    def begun(self) -> bool:
        """Whether a caller's transaction is open on the one connection that all use.

        Whatever we did there would commit it, or roll it back.
        """
        pool = self.engine().pool
        return isinstance(pool, StaticPool) and bool(
            getattr(pool.connection.dbapi_connection, "in_transaction", False)
        )

    def refuse_while_begun(self) -> None:
        """Raise `StorageError` where a commit of our own would be a caller's, in the middle."""
        if self.begun:
            raise StorageError(
                "A transaction is open on the one connection that this app's sessions share, and "
                "recording now would commit it",
                "Pass session=, or record after its commit.",
            )

    def tell_of_unusable_folder(self) -> None:
        """Log what will keep the outbox's file from being written; nothing is made here."""
        self._opening.tell_of_unusable_folder()

    def is_local(self) -> bool:
        """Whether the database is a file or memory of this machine: no server can be dead."""
        return is_local(self.engine())

    @property
    def in_memory(self) -> bool:
        """Whether the database is memory: of this process, perhaps of one thread of it."""
        engine = self.engine()
        return is_local(engine) and not is_file(engine)

    def same_database(self, bind: Any, engine: Engine | None = None) -> bool:
        """Say whether an engine or connection of the caller leads to this database, by its `engine`."""
        theirs, ours = getattr(bind, "engine", bind), engine or self.engine()
        if theirs.pool is ours.pool:
            return True
        return engines.place(theirs.url) == engines.place(ours.url) and not in_memory(theirs.url)

    def hosts_rows(self, query: str, since: datetime) -> Iterator[Any]:
        """Yield what a query of the site's own gives, of the database with its own tables."""
        statement = text(query)
        if ":since" in query:
            statement = statement.bindparams(since=since.replace(tzinfo=None))
        with self.hosts_engine().connect() as connection:
            yield from connection.execute(statement)

    def hosts_engine(self) -> Engine:
        """Return the engine of the app's own tables: where it has none that is known, ours."""
        return self._opening.host() or self.engine()

    def prepare(self) -> None:
        """Make sure that the tables are there. Raises `StorageError` with what to do."""
        engine = self.engine()  # which finds out whether it is ours
        if self.ours and not self._tables_exist():
            self._create()
        with engine.connect() as connection:
            if is_cut_off(connection):
                raise StorageError(
                    "The database leaves rows out of what it is asked for (sql_select_limit)",
                    "Let it be DEFAULT for this user: `SET GLOBAL sql_select_limit = DEFAULT`, or no "
                    "init_command that sets it.",
                )
            if not self._there(connection, self.tables.delivery):
                raise tables_missing()
            meta = self.tables.meta
            rows = connection.execute(select(meta.c.name, meta.c.value))
            named = {row.name: row.value for row in rows}
        if not is_filled(named):
            write(engine, lambda connection: fill_meta(meta, connection))
        else:
            _refuse_others(int(named["schema_version"]))

    def close(self) -> None:
        """Close the connections, unless the engine is the host's."""
        for own in list(self._apart.values()):
            own.dispose()
        self._apart.clear()
        if self._engine is not None and self._made:
            self._engine.dispose()
            self._engine = self._file = None

    def create(self) -> list[str]:
        """Make the tables that are missing; return their names."""
        schema = self.metadata.schema
        there = inspect(self.engine()).get_table_names(schema=schema)
        missing = {table.name for table in self.metadata.tables.values()} - set(there)
        if missing:  # else a lock that a host holds is nothing to wait for
            self._create()
        return sorted(missing)

    def create_ours(self) -> bool:
        """Make the tables that a file of our own has not yet; say whether there were any to make.

        A job or a shell may come before the first request has made them.
        """
        return self.ours and bool(self.create())

    def complete(self) -> list[str]:
        """Make the tables and indexes that are missing; return the tables' names.

        Raises `StorageError` where those that are there are of another version.
        """
        _refuse_others(self._version())
        made = self.create()
        with self.engine().begin() as connection, defining(connection):
            for table in self.metadata.tables.values():
                for index in table.indexes:
                    index.create(connection, checkfirst=True)
            fill_meta(self.tables.meta, connection)
        return made

    def _version(self) -> int:
        meta = self.tables.meta
        if not self._tables_exist():
            return SCHEMA_VERSION
        with self.engine().connect() as connection:
            named = select(meta.c.value).where(meta.c.name == "schema_version")
            return int(connection.scalar(named) or SCHEMA_VERSION)

    def _create(self) -> None:
        # All or none of them: another thread or process may begin in the same moment.
        with self.engine().begin() as connection, defining(connection):
            self.metadata.create_all(connection)

    def _tables_exist(self) -> bool:
        return self._there(self.engine(), self.tables.meta)

    def _there(self, bind: Engine | Connection, table: Table) -> bool:
        return inspect(bind).has_table(table.name, schema=table.schema)


def _refuse_others(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"The tables are of version {version}, newer than this code's {SCHEMA_VERSION}",
            "Install the newer Flask-S2S.",
        )
    if version < SCHEMA_VERSION:
        raise StorageError(
            f"The tables are of version {version}, older than this code's {SCHEMA_VERSION}, and are "
            "not carried forward before 0.1.0",
            "Drop the tables whose names begin with s2s_ (or delete the outbox's file) and run "
            "`flask s2s init-db`: what was not delivered yet is lost.",
        )


def _close_before_forks(storage: Storage) -> None:
    reference = weakref.ref(storage)

    def before() -> None:
        alive = reference()
        if alive is not None:
            alive.before_fork()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before)


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


def _judge(context: ExceptionContext) -> None:
    connection = context.connection
    if connection is None or not connection.get_execution_options().get(_OURS):
        return
    if is_useless(context.original_exception):
        context.is_disconnect = True
