"""The names of databases: no module outside of this folder asks which one it is."""

from __future__ import annotations

from sqlalchemy import Connection, Engine

Bind = Engine | Connection

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
#: A URL may call MariaDB, or MySQL, by the other's name.
MARIADB = ("mysql", "mariadb")
