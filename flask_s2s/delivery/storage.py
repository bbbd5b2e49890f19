"""The database of one app: found at first use, prepared once a process, never carried over a fork.

Our own SQLite file (the default) is made here, with WAL and `synchronous=FULL`: a conversion that
was committed survives a power cut, and one fsync a conversion is cheap. A database that belongs to
the host keeps its settings, and its tables are made by the host's migration or `flask s2s init-db`.

A fork. SQLite counts its locks per process: what a child opens beside an inherited connection takes
no lock of its own, and whoever else closes the file last then deletes the WAL that the child goes
on committing to. So no idle connection to a file is open while the process forks, and a child that
was forked behind Python's back (uWSGI) closes what it inherited before it opens anything. A
server's connections are only let go of: closing one would end the parent's.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from ..errors import ConfigError, StorageError
from ..meta import SCHEMA_VERSION, fill_meta, is_filled
from ..tables import Tables, define_tables

FILE_NAME = "flask_s2s.sqlite3"


class Storage:
    """Where the rows live."""

    def __init__(self, *, uri: str | None, host: Callable[[], Engine | None], folder: Path) -> None:
        self._uri = uri
        self._host = host
        self._folder = folder
        # A lock for each process: one that is held while another thread forks is never given back.
        self._locks: dict[int, Lock] = {}
        self._engine: Engine | None = None
        self._made: Engine | None = None
        # The host may have used its engine before it is asked for, and the process may fork between.
        self._pid = os.getpid()
        #: Whether the database is a file of our own, which is made and upgraded without asking.
        self.ours = False
        self.metadata = MetaData()
        self.tables: Tables = define_tables(self.metadata)
        #: Called with each closing around a fork: others have connections to the same file.
        self.at_fork: Callable[[], None] = lambda: None
        _close_before_forks(self)

    def engine(self) -> Engine:
        """Return the engine; one that was made before a fork gets a new pool first."""
        engine, pid = self._engine, os.getpid()
        if engine is not None and self._pid == pid:
            return engine
        with self._locks.setdefault(pid, Lock()):
            if self._engine is None:
                self._engine = self._find()
            if self._pid != pid:
                self._let_go(self._engine)
            self._pid = pid
            return self._engine

    def before_fork(self) -> None:
        """Close what is idle of a SQLite file's connections; the next use opens them again."""
        engine = self._engine
        if engine is not None and self._pid == os.getpid() and _is_file(engine):
            self._let_go(engine)

    def _let_go(self, engine: Engine) -> None:
        if _is_file(engine):
            self.at_fork()
            engine.dispose()
        elif engine.dialect.name != "sqlite":  # memory is the process's own copy
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

    def is_local(self) -> bool:
        """Whether the database is a file or memory of this machine: no server can be dead."""
        return self.engine().dialect.name == "sqlite"

    def same_database(self, bind: Any) -> bool:
        """Say whether an engine or connection of the caller leads to this database."""
        theirs = getattr(bind, "engine", bind)
        if theirs is self.engine():
            return True
        return _place(theirs.url) == _place(self.engine().url) and not _in_memory(theirs.url)

    def is_the_hosts(self) -> bool:
        """Whether this is the app's own database, where its sessions can write to it."""
        host = self._host()
        return host is not None and self.same_database(host)

    def prepare(self) -> None:
        """Make sure that the tables are there. Raises `StorageError` with what to do."""
        engine = self.engine()  # which finds out whether it is ours
        if self.ours and not self._tables_exist():
            self._create()
        with engine.connect() as connection:
            if not inspect(connection).has_table(self.tables.delivery.name):
                raise StorageError(
                    "The tables of Flask-S2S are missing",
                    "Run `flask s2s init-db`, or add define_tables(metadata) to your migrations.",
                )
            meta = self.tables.meta
            rows = connection.execute(select(meta.c.name, meta.c.value))
            named = {row.name: row.value for row in rows}
        if not is_filled(named):
            with engine.begin() as connection:
                fill_meta(meta, connection)
        elif (version := int(named["schema_version"])) != SCHEMA_VERSION:
            _refuse_newer(version)
            raise StorageError(
                f"The tables are of version {version}, this code of {SCHEMA_VERSION}",
                "Run `flask s2s upgrade-db`.",
            )

    def close(self) -> None:
        """Close the connections, unless the engine is the host's."""
        if self._engine is not None and self._engine is self._made:
            self._engine.dispose()
            self._engine = None

    def create(self) -> list[str]:
        """Make the tables that are missing; return their names."""
        before = set(inspect(self.engine()).get_table_names())
        self._create()
        return sorted(set(self.metadata.tables) - before)

    def upgrade(self) -> tuple[int, int]:
        """Bring the tables to this version; return the version before and after.

        Raises `StorageError` where they are newer than this code.
        """
        before = self._version()
        _refuse_newer(before)
        self._create()
        for table in self.metadata.tables.values():
            for index in table.indexes:
                index.create(self.engine(), checkfirst=True)
        with self.engine().begin() as connection:
            fill_meta(self.tables.meta, connection)
        return before, SCHEMA_VERSION

    def _version(self) -> int:
        meta = self.tables.meta
        if not self._tables_exist():
            return SCHEMA_VERSION
        with self.engine().connect() as connection:
            named = select(meta.c.value).where(meta.c.name == "schema_version")
            return int(connection.scalar(named) or SCHEMA_VERSION)

    def _create(self) -> None:
        try:
            self.metadata.create_all(self.engine())
        except OperationalError:
            # Another process made them in the same moment.
            if not self._tables_exist():
                raise

    def _tables_exist(self) -> bool:
        return inspect(self.engine()).has_table(self.tables.meta.name)

    def _find(self) -> Engine:
        if self._uri is None:
            host = self._host()
            if host is not None:
                return host
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._own_file(make_url(f"sqlite:///{self._folder / FILE_NAME}"))
        self._made = make_engine(self._uri, "S2S_DATABASE_URI")
        self.ours = self._made.dialect.name == "sqlite"
        return self._made

    def _own_file(self, url: URL) -> Engine:
        self.ours = True
        self._made = _engine_of_file(url)
        return self._made


def make_engine(uri: str, key: str) -> Engine:
    """Make an engine whose rows outlive the process. Raises `ConfigError`, which names `key`."""
    try:
        url = make_url(uri)
        if url.get_backend_name() != "sqlite":
            return create_engine(url, pool_pre_ping=True, hide_parameters=True)
        if not _in_memory(url):
            return _engine_of_file(url)
    except (SQLAlchemyError, ImportError) as error:
        raise ConfigError(
            key,
            f"cannot be used ({type(error).__name__})",
            "It is a SQLAlchemy URL, such as postgresql+psycopg://user@host/name; "
            "its driver must be installed.",
        ) from None
    raise ConfigError(key, "is in memory", "Conversions must outlive the process: a file.")


def _engine_of_file(url: URL) -> Engine:
    engine = create_engine(url, hide_parameters=True)
    event.listen(engine, "connect", _own_settings)
    return engine


def _refuse_newer(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"The tables are of version {version}, newer than this code's {SCHEMA_VERSION}",
            "Install the newer Flask-S2S.",
        )


def _close_before_forks(storage: Storage) -> None:
    reference = weakref.ref(storage)

    def before() -> None:
        alive = reference()
        if alive is not None:
            alive.before_fork()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before)


def _is_file(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite" and not (
        isinstance(engine.pool, (StaticPool, SingletonThreadPool)) or _in_memory(engine.url)
    )


def _own_settings(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _in_memory(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and (not url.database or ":memory:" in url.database)


def _place(url: URL) -> tuple[Any, ...]:
    if url.get_backend_name() == "sqlite":
        return ("sqlite", os.path.abspath(url.database or ""))
    host = "127.0.0.1" if url.host in (None, "localhost") else url.host
    return (url.get_backend_name(), host, url.port, url.database)
