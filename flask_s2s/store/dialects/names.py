"""The names of databases: no module outside of this folder asks which one it is."""

from __future__ import annotations

from sqlalchemy import URL, Connection, Engine

Bind = Engine | Connection


def is_sqlite(bind: Bind | URL) -> bool:
    """Say whether it is SQLite."""
    return _name(bind) == "sqlite"


def is_postgresql(bind: Bind | URL) -> bool:
    """Say whether it is PostgreSQL."""
    return _name(bind) == "postgresql"


def is_mariadb(bind: Bind | URL) -> bool:
    """Say whether it is MariaDB, or MySQL: a URL may call either by the other's name."""
    return _name(bind) in ("mysql", "mariadb")


def _name(bind: Bind | URL) -> str:
    return bind.get_backend_name() if isinstance(bind, URL) else bind.dialect.name
