"""The database: its tables, and whether it forgets a commit in a power cut."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ..errors import S2SError
from ..services import Services
from .findings import Finding

# 1 and 3 sync at every commit.
_INNODB = (
    "SELECT CONCAT('innodb_flush_log_at_trx_commit = ', @@innodb_flush_log_at_trx_commit)"
    " FROM DUAL WHERE @@innodb_flush_log_at_trx_commit IN (0, 2)"
)
#: What each database is asked for settings that let it forget a commit in a power cut.
_FORGETFUL = {
    "sqlite": "SELECT 'synchronous = ' || synchronous FROM pragma_synchronous WHERE synchronous < 2",
    "postgresql": "SELECT name || ' = ' || setting FROM pg_settings"
    " WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'",
    "mysql": _INNODB,
    "mariadb": _INNODB,
}
#: Those of them that cost more than the last commits.
_DAMAGING = ("synchronous = 0", "fsync = off", "full_page_writes = off")


def look(services: Services) -> Iterator[Finding]:
    """Look at the tables, which are made where the file is ours, and at the settings."""
    try:
        services.storage.prepare()
        engine = services.storage.engine()
        yield Finding.ok("database", f"{engine.dialect.name}, tables are there")
        if services.storage.is_local() and not services.storage.shared_connection:
            with engine.connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            if mode != "wal":
                yield Finding.note(
                    "database",
                    f"SQLite in journal mode {mode}: readers and writers wait for each other",
                    "Run `PRAGMA journal_mode=WAL` on the file once.",
                )
        yield from _durability(engine)
    except S2SError as error:
        yield Finding.error("database", str(error), "")
    except SQLAlchemyError as error:
        yield Finding.error(
            "database",
            f"cannot be used ({type(error).__name__})",
            "Is the server up and the URL right?",
        )


def _durability(engine: Engine) -> Iterator[Finding]:
    if question := _FORGETFUL.get(engine.dialect.name):
        with engine.connect() as connection:
            for setting in connection.exec_driver_sql(question).scalars():
                lost = (
                    "may damage the whole database"
                    if setting in _DAMAGING
                    else "may cost the last commits, users and conversions alike"
                )
                message = f"{setting}: a power cut {lost}"
                yield Finding.note("database", message, "Let it sync every commit.")
