"""Renaming: a customer whose key has changed, or who became one with another.

The site's key of a customer changes; the network goes on knowing them by the key that it was told. So
each row has the new key, and, where anything of its customer may have reached the network, the key
that is sent (`known_as`). What is recorded later under the new key inherits that from its sign-up, as
it inherits its partner (`store/outbox/outbox`).

Where both keys have a sign-up the two stay: each is at the network, or on its way there, under its own
key, and what waits for one still waits for it. What is recorded under the new key later belongs to
the sign-up that had it before.

It is one transaction, and done twice it changes nothing the second time. A worker may hold a row: what
settles one has nothing to do with these columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, bindparam, or_, select, update

from ...conversion import Action, Signup
from ..audit import Audit
from ..bindings import Bindings
from ..database.storage import Storage
from ..dialects.servers import any_key, begin_writing
from ..outbox.outbox import Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed:
    """The changes of a renaming, to be made or made."""

    #: Deliveries that are the new key's.
    deliveries: int
    #: Those of them that are sent, or were, under the key that the network knows.
    known_as_before: int
    #: Sign-ups that stay beside one that the new key has.
    merged: int
    #: Clicks that the customer's key was bound to.
    bindings: int
    #: Click tokens that the customer has used.
    click_tokens: int

    def __bool__(self) -> bool:
        return bool(self.deliveries or self.bindings or self.click_tokens)


@dataclass(frozen=True, slots=True)
class _Change:
    """A row, and what becomes of it."""

    id: int
    values: dict[str, Any]


class Renaming:
    """Renames customers of one database."""

    def __init__(
        self,
        storage: Storage,
        bindings: Bindings,
        outbox: Outbox,
        audit: Audit,
    ) -> None:
        self._storage = storage
        self._tables = storage.tables
        self._bindings = bindings
        self._outbox = outbox
        self._audit = audit

    def preview(self, old: str, new: str) -> Renamed:
        """Return what `rename` would change now."""
        with self._storage.connect() as connection:
            signups = self._signups(connection, old, new)
            changes = self._changes(connection, old, new)
            tokens = self._tables.click_token
            used = select(tokens.c.token).where(tokens.c.customer == signups[0])
            return _counted(
                changes,
                merged=self._merged(connection, signups),
                bindings=self._bindings.of_user(connection, old),
                click_tokens=len(connection.scalars(used).all()),
            )

    def rename(self, old: str, new: str) -> Renamed:
        """Rename, in one transaction; return what changed."""
        tables = self._tables

        def rename(connection: Connection) -> Renamed:
            begin_writing(connection, tables.delivery)
            signups = self._signups(connection, old, new)
            merged = self._merged(connection, signups)
            changes = self._changes(connection, old, new, lock=True)
            self._write(connection, changes)
            tokens = tables.click_token
            used = update(tokens).where(any_key(tokens.c.token), tokens.c.customer == signups[0])
            done = _counted(
                changes,
                merged=merged,
                bindings=self._bindings.rename_user(connection, old, new),
                click_tokens=connection.execute(used.values(customer=signups[1])).rowcount,
            )
            self._audit.rename(connection, old, new)
            return done

        return self._storage.write(rename)

    # -----------------------------------------------------------------------------------------

    def _signups(self, connection: Connection, old: str, new: str) -> tuple[str, str]:
        """Return what the two keys' sign-ups are de-duplicated by."""
        hashed = self._outbox.hashed
        return hashed(connection, (Signup.kind, old)), hashed(connection, (Signup.kind, new))

    def _merged(self, connection: Connection, signups: tuple[str, str]) -> int:
        """Return at how many networks both keys have a sign-up."""
        there = [set(self._networks(connection, one)) for one in signups]
        return len(there[0] & there[1])

    def _networks(self, connection: Connection, dedupe: str) -> Sequence[str]:
        rows = self._tables.delivery
        return connection.scalars(select(rows.c.network).where(rows.c.dedupe == dedupe)).all()

    def _changes(
        self, connection: Connection, old: str, new: str, *, lock: bool = False
    ) -> list[_Change]:
        rows = self._tables.delivery
        before, after = self._signups(connection, old, new)
        # By its hash a sign-up is found, and what waits for it, after it was emptied too.
        theirs = or_(rows.c.customer_key == old, rows.c.dedupe == before, rows.c.parent == before)
        found = select(rows).where(theirs).order_by(rows.c.id)
        found = found.with_for_update() if lock else found
        listed = connection.execute(found).mappings().all()
        taken = set(self._networks(connection, after))
        told = {
            one["network"]: one["network"] in taken or one["attempts"] > 0
            for one in listed
            if one["dedupe"] == before
        }
        changes = []
        for row in listed:
            values: dict[str, Any] = {"dedupe": row["dedupe"], "parent": row["parent"]}
            values |= {name: row[name] for name in ("customer_key", "conversion", "known_as")}
            if row["customer_key"] == old or row["dedupe"] == before:
                # Without a sign-up here the network may know the customer from before.
                known = row["known_as"] or (old if told.get(row["network"], True) else None)
                values["known_as"] = None if known == new else known
            if row["customer_key"] == old:
                values["customer_key"] = new
                if row["conversion"] is not None:
                    values["conversion"] = {**row["conversion"], "customer_key": new}
                values["dedupe"] = self._keyless(connection, row, old, new)
            if row["network"] not in taken:
                moved = {"dedupe": values["dedupe"], "parent": row["parent"]}
                values |= {name: after for name, value in moved.items() if value == before}
            if any(values[name] != row[name] for name in values):
                changes.append(_Change(row["id"], values))
        return changes

    def _keyless(self, connection: Connection, row: RowMapping, old: str, new: str) -> str:
        """Return what a row is de-duplicated by: an action without a key is its customer and type."""
        there: str = row["dedupe"]
        if row["kind"] != Action.kind or row["what"] is None:
            return there
        one, other = (
            self._outbox.hashed(connection, (Action.kind, key, row["what"])) for key in (old, new)
        )
        if there != one or row["network"] in self._networks(connection, other):
            return there
        return other

    def _write(self, connection: Connection, changes: Sequence[_Change]) -> None:
        rows: Table = self._tables.delivery
        if not changes:
            return
        names = changes[0].values
        given = {name: bindparam(f"its_{name}", type_=rows.c[name].type) for name in names}
        changing = update(rows).where(rows.c.id == bindparam("its_id")).values(given)
        connection.execute(
            changing,
            [
                {"its_id": one.id, **{f"its_{name}": value for name, value in one.values.items()}}
                for one in changes
            ],
        )


def _counted(
    changes: Sequence[_Change], *, merged: int, bindings: int, click_tokens: int
) -> Renamed:
    return Renamed(
        deliveries=len(changes),
        known_as_before=sum(one.values["known_as"] is not None for one in changes),
        merged=merged if changes else 0,
        bindings=bindings,
        click_tokens=click_tokens,
    )
