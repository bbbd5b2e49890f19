"""Opening the database: its address as somebody wrote it, the app's own, or a file of ours.

An address is read when the app is made, or told what to write, and the driver is loaded with it: one
that is not installed is found then, and not by the first customer.

A file that is deleted or replaced under a running process lives on for whoever has it open: SQLite
goes on reading and committing to it, and all of that is gone when the last one closes it.

A test that names no database leaves none behind: a suite that passes once passes twice.

SQLAlchemy's recipe for test-suites rolls everything back: a session is bound to a connection whose
outer transaction never commits. A record of such a test is seen on that connection alone, so draining
in the test works on it as well: by an engine over it, whose transactions are savepoints within the
test's own.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ...errors import ConfigError, StorageError
from ..dialects import engines
from ..dialects.engines import in_memory, is_local, load_driver, scheme, within

log = logging.getLogger("flask_s2s")

#: The name of our own file.
FILE_NAME = "flask_s2s.sqlite3"
_FORM = "It is a SQLAlchemy URL, such as postgresql+psycopg://user@host/name."
#: By what a driver is imported as, the extra that brings one for the same database, and its scheme.
_EXTRAS = {
    "psycopg": ("postgresql", "postgresql+psycopg"),
    "psycopg2": ("postgresql", "postgresql+psycopg"),
    "pymysql": ("mariadb", "mariadb+pymysql"),
    "mysqldb": ("mariadb", "mariadb+pymysql"),
}

_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A database that was found."""

    engine: Engine
    #: Whether the engine was made here, and is closed by whoever closes the app.
    made: bool = True
    #: Our own file, which is made without asking.
    file: OpenFile | None = None


class Opening:
    """Finds one app's database, when it is first used: extensions are initialised in any order."""

    def __init__(
        self,
        *,
        uri: str | None,
        host: Callable[[], Engine | None],
        folder: Path,
        options: Mapping[str, Any],
        testing: Callable[[], bool],
    ) -> None:
        """While `testing`, the file that nobody named is in a folder that goes with this object."""
        self._url = None if uri is None else read_address(uri, "S2S_DATABASE_URI")
        self._options = options
        #: Returns the engine of the app's own tables, if it has one that is known.
        self.host = host
        self._folder = folder
        self._fleeting = testing

    def find(self) -> Found:
        """Return the database. Raises `StorageError` where its file cannot be written."""
        if self._url is None:
            host = self.host()
            if host is not None:
                return Found(host, made=False)
            if self._fleeting():
                self._folder, self._fleeting = _fleeting_folder(self), bool
            self._refuse_unusable_folder()
            name = str(self._folder / FILE_NAME)
            made = engines.make_engine(URL.create("sqlite", database=name), {})
            return Found(made, file=OpenFile(name))
        self._refuse_unusable_folder()
        made = _engine_of(self._url, "S2S_DATABASE_URI", self._options)
        return Found(made, file=OpenFile(made.url.database or "") if is_local(made) else None)

    def tell_of_unusable_folder(self) -> None:
        """Log what will keep the outbox's file from being written; nothing is made here."""
        if why := _why_unusable(self._folder_of_file(), make=False):
            log.critical(
                "s2s.storage.unusable: %s",
                self._unusable(why),
                extra={"action": "storage.unusable"},
            )

    def _refuse_unusable_folder(self) -> None:
        if why := _why_unusable(self._folder_of_file(), make=True):
            raise self._unusable(why)

    def _unusable(self, why: str) -> StorageError:
        return StorageError(
            f"The folder of the outbox, {self._folder_of_file()}, {why}",
            "Set S2S_DATABASE_URI to a database that is kept, or mount a volume there (Flask's own "
            "is the instance folder).",
        )

    def _folder_of_file(self) -> Path | None:
        """Return the folder of the outbox, if it is a file of ours."""
        if self._url is None:
            return self._folder
        name = self._url.database or ""
        if not is_local(self._url) or name.startswith("file:"):
            return None
        return Path(name).parent


def read_address(address: str, key: str) -> URL:
    """Return the URL, a file's with its whole path. Raises `ConfigError`, which names `key`.

    The message has none of the address: it may hold a password.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise ConfigError(key, "cannot be read", _FORM) from None
    if scheme(url) == "postgres":
        raise ConfigError(
            key,
            "begins with postgres://, which SQLAlchemy does not know",
            "Write postgresql+psycopg:// instead.",
        )
    _load_driver(url, key)
    return _file(url, key) if is_local(url) else url


def _why_unusable(folder: Path | None, *, make: bool) -> str | None:
    """Say why no file can be written in a folder, which is made if `make` says so."""
    if folder is None:
        return None
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        there = next(one for one in (folder, *folder.parents) if one.exists())
    except OSError as error:
        return f"cannot be made ({error.strerror})"
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return None
    return "cannot be written to" if there == folder else "cannot be made"


def _load_driver(url: URL, key: str) -> None:
    try:
        for_threads = load_driver(url)
    except ImportError as error:
        missing = (error.name or url.get_driver_name()).partition(".")[0]
        if missing.lower() in _EXTRAS:
            extra, written = _EXTRAS[missing.lower()]
            remedy = f"Write {written}:// and run `pip install 'flask-s2s[{extra}]'`."
        else:
            remedy = (
                f"Run `pip install {missing}`, or name another driver "
                "(postgresql+psycopg://, mariadb+pymysql://)."
            )
        raise ConfigError(
            key, f"needs the driver {missing}, which is not installed", remedy
        ) from None
    except SQLAlchemyError as error:
        raise ConfigError(
            key, f"names a database that SQLAlchemy does not know ({scheme(url)})", _FORM
        ) from error
    if not for_threads:
        raise ConfigError(
            key,
            f"names an asynchronous driver ({scheme(url)})",
            "Name one for threads, such as postgresql+psycopg:// or sqlite:///.",
        )


def _file(url: URL, key: str) -> URL:
    if in_memory(url):
        raise ConfigError(key, "is in memory", "Conversions must outlive the process: a file.")
    name = url.database or ""
    return url if name.startswith("file:") else url.set(database=os.path.abspath(name))


def make_engine(uri: str, key: str, options: Mapping[str, Any] = MappingProxyType({})) -> Engine:
    """Make an engine whose rows outlive the process. Raises `ConfigError`, which names `key`.

    `options` go before what we choose ourselves.
    """
    return _engine_of(read_address(uri, key), key, options)


def _engine_of(url: URL, key: str, options: Mapping[str, Any]) -> Engine:
    try:
        return engines.make_engine(url, options)
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            "S2S_DATABASE_OPTIONS",
            f"does not suit create_engine and this database ({type(error).__name__})",
            "Its names are create_engine's, such as pool_size, pool_recycle and connect_args.",
        ) from None
    except SQLAlchemyError as error:
        raise ConfigError(
            key,
            f"cannot be used ({type(error).__name__})",
            "It is a SQLAlchemy URL, such as postgresql+psycopg://user@host/name.",
        ) from None


def _fleeting_folder(owner: object) -> Path:
    """Make a folder that is deleted with its owner, at the latest when this process ends."""
    folder = tempfile.mkdtemp(prefix="flask_s2s-")
    weakref.finalize(owner, _remove, folder, os.getpid())
    return Path(folder)


def _remove(folder: str, made_by: int) -> None:
    if os.getpid() == made_by:  # a child that was forked ends first
        shutil.rmtree(folder, ignore_errors=True)


class OpenFile:
    """The file at a path, as it was when it was first seen there."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: _Identity | None = None

    def is_another(self) -> bool:
        """Say whether the file is gone, or another one is in its place."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return self._seen is not None
        except OSError:
            return False  # out of reach for a moment: whoever opens it is told why
        if self._seen is None:
            self._seen = (found.st_dev, found.st_ino)
        return self._seen != (found.st_dev, found.st_ino)


def lend(connection: Connection) -> Engine:
    """Return an engine over the driver's connection of `connection`, for the same thread."""
    return within(connection, _Savepoints())


class _Savepoints:
    """Savepoints in place of begin, commit and rollback, within somebody else's transaction."""

    def __init__(self) -> None:
        self._depth = 0
        self._commits_each = False

    def begin(self, driver: Any) -> None:
        self._depth += 1
        self._run(driver, f"SAVEPOINT s2s_{self._depth}")

    def commit(self, driver: Any) -> None:
        self._run(driver, f"RELEASE SAVEPOINT s2s_{self._depth}")
        self._depth -= 1

    def rollback(self, driver: Any) -> None:
        # AUTOCOMMIT ends with a rollback, of nothing.
        if not self._commits_each:
            self._run(driver, f"ROLLBACK TO SAVEPOINT s2s_{self._depth}")
        self.commit(driver)

    def set_level(self, level: str | None) -> None:
        self._commits_each = level == "AUTOCOMMIT"

    def _run(self, driver: Any, statement: str) -> None:
        cursor = driver.cursor()
        cursor.execute(statement)
        cursor.close()
