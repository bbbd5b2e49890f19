"""Databases in disguise: a SQLite file that was replaced, a test's own, and its connection lent to us.

A file that is deleted or replaced under a running process lives on for whoever has it open: SQLite
goes on reading and committing to it, and all of that is gone when the last one closes it.

A test that names no database leaves none behind: a suite that passes once passes twice.

SQLAlchemy's recipe for test-suites rolls everything back: a session is bound to a connection whose
outer transaction never commits. A record of such a test is seen on that connection alone, so draining
in the test works on it as well: by an engine over it, whose transactions are savepoints within the
test's own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from ..dialects.engines import within

_Identity = tuple[int, int]


def fleeting_folder(owner: object) -> Path:
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
