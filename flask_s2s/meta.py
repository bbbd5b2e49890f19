"""What an installation knows of itself: `s2s_meta`, which gets its rows with the table.

They are the schema version; the installation's own random key, which keys the de-duplication hashes
so that rotating SECRET_KEY does not forget a customer; a first key that hashes identities; and when
a worker was last seen.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, Connection, MetaData, String, Table, event, insert, select

#: Raised whenever a table changes; `flask s2s upgrade-db` carries a database forward.
SCHEMA_VERSION = 1

#: Names that begin with this have a key that hashes identities: `made:secret`.
IDENTITY_KEY = "identity_key:"


def define_meta(metadata: MetaData) -> Table:
    """Define the table on `metadata`."""
    table = Table(
        "s2s_meta",
        metadata,
        Column("name", String(32), primary_key=True),
        Column("value", String(255), nullable=False),
    )

    @event.listens_for(table, "after_create")
    def _fill(table: Table, connection: Connection, **_: Any) -> None:
        fill_meta(table, connection)

    return table


def fill_meta(meta: Table, connection: Connection) -> None:
    """Write the rows that are not there (a migration makes the table only)."""
    present = set(connection.scalars(select(meta.c.name)))
    rows = {"schema_version": str(SCHEMA_VERSION), "installation": secrets.token_hex(16)}
    rows["worker_seen"] = ""
    if not any(name.startswith(IDENTITY_KEY) for name in present):
        rows[f"{IDENTITY_KEY}{secrets.token_hex(4)}"] = f"0:{secrets.token_hex(32)}"
    for name in rows.keys() - present:
        connection.execute(insert(meta), {"name": name, "value": rows[name]})


def is_filled(names: Iterable[str]) -> bool:
    """Say whether all rows are there."""
    present = set(names)
    return present >= {"installation", "schema_version", "worker_seen"} and any(
        name.startswith(IDENTITY_KEY) for name in present
    )
