"""Sealed rows: what is left of a delivery whose customer was forgotten.

The hash that de-duplicates is keyed by the installation's own key, which is in the database: whoever
has a dump, and guesses customer keys, finds the row again. So `forget` hashes that hash once more,
under the person key, which a dump alone does not open. A customer who comes back is still one
delivery: whoever adds a row looks whether there is a sealed one of the same.

It looks after the insert and not before: on SQLite a transaction that begins by reading may not be
let write. And it looks only where anybody was ever forgotten: a process that has seen none asks for
that every `_FRESH`. So for that long after the very first `forget` of an installation, the one who was
forgotten would be a second delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, select, update

from ...rules.delivery import Delivery
from ...rules.states import Status
from ..dialects.statements import inserting_once
from ..outbox.rows import delivery_of
from ..schema import SEALED, Tables
from .keyring import Keyring

_FRESH = timedelta(seconds=10)


class Seals:
    """Seals rows of one database, and finds them."""

    def __init__(self, tables: Tables, keyring: Keyring) -> None:
        self._rows: Table = tables.delivery
        self._attempts: Table = tables.attempt
        self._keyring = keyring
        self._meta = tables.meta
        self._any = False
        self._asked: datetime | None = None
        rows = self._rows
        wanted = rows.c.dedupe.in_([bindparam("its_own"), bindparam("its_parent")])
        self._found = select(rows.c.id, rows.c.dedupe).where(
            rows.c.network == bindparam("its_network"), wanted
        )

    def of(self, connection: Connection, dedupe: str) -> str | None:
        """Return what a hash is sealed as; None: nothing opens the key."""
        key = self._keyring.person(connection)
        return None if key is None else key.hash("dedupe", dedupe)

    def also(self, connection: Connection, dedupe: str, now: datetime) -> list[str]:
        """Return what a row with this hash is found by beside it, where anybody was forgotten."""
        sealed = self.of(connection, dedupe) if self._has_any(connection, now) else None
        return [] if sealed is None else [sealed]

    def seal(self, connection: Connection, found: Sequence[Any]) -> bool:
        """Seal emptied rows; False: nothing opens the key, and they stay as they are."""
        rows = self._rows
        sealed = [
            {"its_id": row["id"], "its_dedupe": self.of(connection, row["dedupe"])} for row in found
        ]
        if not sealed or any(one["its_dedupe"] is None for one in sealed):
            return not sealed
        this = update(rows).where(rows.c.id == bindparam("its_id"))
        connection.execute(this.values(dedupe=bindparam("its_dedupe")), sealed)
        flag = inserting_once(connection, self._meta)
        connection.execute(flag, {"name": SEALED, "value": "1"})
        self._asked = None
        return True

    def reconcile(self, connection: Connection, added: Delivery) -> Delivery:
        """Return the delivery that counts: what was just added, or the sealed one of the same."""
        if not self._has_any(connection, added.created_at):
            return added
        own = self.of(connection, added.dedupe)
        if own is None:
            return added
        parent = own if added.parent is None else self.of(connection, added.parent)
        named = {"its_network": added.network, "its_own": own, "its_parent": parent}
        found = {row.dedupe: row.id for row in connection.execute(self._found, named)}
        if not found:
            return added
        if own in found:
            return self._either(connection, added, found[own])
        this = update(self._rows).where(self._rows.c.id == added.id)
        connection.execute(this.values(parent=parent))
        return replace(added, parent=parent)

    def _has_any(self, connection: Connection, now: datetime) -> bool:
        fresh = self._asked is not None and abs(now - self._asked) < _FRESH
        if not self._any and not fresh:
            flag = select(self._meta.c.name).where(self._meta.c.name == SEALED)
            self._any, self._asked = connection.scalar(flag) is not None, now
        return self._any

    def _either(self, connection: Connection, added: Delivery, there: int) -> Delivery:
        rows = self._rows
        row = connection.execute(select(rows).where(rows.c.id == there)).mappings().one()
        sealed = delivery_of(row)
        # Emptied, a refused one has nothing to send either.
        empty = sealed.status.replaceable or sealed.status is Status.REFUSED
        goes, stays = (sealed, added) if empty else (added, sealed)
        attempts = self._attempts
        connection.execute(delete(attempts).where(attempts.c.delivery_id == goes.id))
        connection.execute(delete(rows).where(rows.c.id == goes.id))
        return stays
