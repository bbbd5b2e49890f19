"""The database's rows, read by a connection that shares nothing with the host."""

from __future__ import annotations

from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool


def read(uri: str, statement: str) -> list[Any]:
    """Return the rows of a statement; one column comes bare."""
    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(statement))]
    engine.dispose()
    return [row[0] if len(row) == 1 else row for row in found]


def conversions(uri: str) -> list[tuple[str, str]]:
    """Return customer key and status of every delivery, oldest first."""
    return read(uri, "SELECT customer_key, status FROM s2s_delivery ORDER BY id")


def customers(uri: str) -> list[str]:
    """Return the keys of the host's committed users."""
    return [
        str(key) for key in read(uri, 'SELECT id FROM "user" ORDER BY id'.replace('"', _q(uri)))
    ]


def _q(uri: str) -> str:
    return "`" if uri.startswith("mariadb") else '"'
