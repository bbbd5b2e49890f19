"""Everything kept about one customer: to be shown to them, or to be forgotten.

Who is meant is said by the site's own customer key, or by the e-mail address: that is looked for in
what deliveries send (as it was passed, or hashed where `S2S_SEND_PII` says so) and among bindings.
A row that was emptied before is nobody's any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Table,
    and_,
    delete,
    func,
    or_,
    select,
    update,
)

from ..capture.binding import Bindings
from ..capture.identity import Identity, identities
from ..conversion import Signup
from ..tables import OPEN, Tables
from .erasing import PERSONAL, Erasing, visit_of
from .settlement import Status

#: Forgetting ends these; all others keep their status.
_STOPPED = (*OPEN, Status.REFUSED.value, Status.EXPIRED.value)
#: What ties a row to its customer.
_TIES: dict[str, Any] = {"customer_key": None, "parent": None}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """The rows about one customer."""

    #: Whole rows; each delivery with its `attempts`.
    deliveries: list[Row]
    clicks: list[Row]
    bindings: list[Row]
    #: Links that carried a click, and were used by this customer.
    handles: list[Row]

    def counts(self) -> dict[str, int]:
        """Return how many rows there are, by what becomes of them when they are forgotten."""
        statuses = [row["status"] for row in self.deliveries]
        stopped = sum(status in _STOPPED for status in statuses)
        return {
            "emptied": len(statuses) - stopped,
            "withdrawn": stopped,
            "in_flight": statuses.count(Status.SENDING.value),
            "attempts": sum(len(row["attempts"]) for row in self.deliveries),
            "clicks": len(self.clicks),
            "bindings": len(self.bindings),
            "handles": len(self.handles),
        }


class Dossiers:
    """Reads and empties them, in one database."""

    def __init__(
        self,
        engine: Callable[[], Engine],
        tables: Tables,
        bindings: Bindings,
        hashed: Callable[[Connection, tuple[str, ...]], str],
    ) -> None:
        """`hashed` is the keyed hash of what makes a conversion itself."""
        self._engine = engine
        self._tables = tables
        self._bindings = bindings
        self._hashed = hashed
        self._erasing = Erasing(tables)

    def read(self, who: str) -> Dossier:
        """Return what is kept about the customer with this key or e-mail address."""
        with self._engine().connect() as connection:
            return self._read(connection, who, self._customers(connection, who))

    def forget(self, who: str, now: datetime) -> dict[str, int]:
        """Forget it, in one transaction; return what `Dossier.counts` says of what was there."""
        with self._engine().connect() as connection:
            customers = self._customers(connection, who)
            tokens = self._tokens(connection, customers)
        tables = self._tables
        with self._engine().begin() as connection:
            # Also where there is none: a transaction that begins by reading may not be let write.
            used = delete(tables.handle).where(tables.handle.c.customer.in_(tokens))
            handles = connection.execute(used).rowcount
            dossier = self._read(connection, who, customers, lock=True)
            self._empty(connection, dossier, now)
        return {**dossier.counts(), "handles": handles}

    def _empty(self, connection: Connection, dossier: Dossier, now: datetime) -> None:
        rows, attempts = self._tables.delivery, self._tables.attempt
        stopped = [row["id"] for row in dossier.deliveries if row["status"] in _STOPPED]
        kept = [row["id"] for row in dossier.deliveries if row["status"] not in _STOPPED]
        self._erasing.stop(connection, stopped, now, **_TIES)
        emptied = dict.fromkeys((*PERSONAL, "detail", "verify_at"), None) | _TIES
        connection.execute(update(rows).where(rows.c.id.in_(kept)).values(emptied))
        silent = update(attempts).where(attempts.c.delivery_id.in_(kept))
        connection.execute(silent.values(request=None, answer=None))
        for table, found in (
            (self._tables.click, dossier.clicks),
            (self._tables.binding, dossier.bindings),
        ):
            ids = [row["id"] for row in found]
            connection.execute(delete(table).where(table.c.id.in_(ids)))

    # -- finding ------------------------------------------------------------------------------

    def _customers(self, connection: Connection, who: str) -> list[str]:
        """Return the keys of the customers who are meant."""
        rows, said = self._tables.delivery, who.strip()
        meant = rows.c.customer_key == said
        if "@" in said:
            hidden = hashlib.sha256(said.lower().encode()).hexdigest()
            sent = func.lower(rows.c.conversion["email"].as_string())
            meant = or_(meant, sent.in_([said.lower(), hidden]))
        named = select(rows.c.customer_key).where(meant, rows.c.customer_key.is_not(None))
        return sorted(set(connection.scalars(named)))

    def _tokens(self, connection: Connection, customers: Sequence[str]) -> list[str]:
        return [self._hashed(connection, (Signup.kind, customer)) for customer in customers]

    def _read(
        self, connection: Connection, who: str, customers: Sequence[str], *, lock: bool = False
    ) -> Dossier:
        tables = self._tables
        rows, handles = tables.delivery, tables.handle
        theirs = select(rows).where(rows.c.customer_key.in_(customers)).order_by(rows.c.id)
        deliveries = _rows(connection, theirs.with_for_update() if lock else theirs)
        self._add_attempts(connection, deliveries)
        used = handles.c.customer.in_(self._tokens(connection, customers))
        bindings = self._bound(connection, self._known(who, customers, deliveries), deliveries)
        return Dossier(
            deliveries=deliveries,
            clicks=self._clicks(connection, [*deliveries, *bindings]),
            bindings=bindings,
            handles=_rows(connection, select(handles).where(used)),
        )

    def _add_attempts(self, connection: Connection, deliveries: Sequence[Row]) -> None:
        table, ids = self._tables.attempt, [row["id"] for row in deliveries]
        tried = select(table).where(table.c.delivery_id.in_(ids)).order_by(table.c.id)
        attempts = _rows(connection, tried)
        for row in deliveries:
            row["attempts"] = [one for one in attempts if one["delivery_id"] == row["id"]]

    def _known(
        self, who: str, customers: Sequence[str], deliveries: Sequence[Row]
    ) -> set[Identity]:
        """Return all that the customer may have been bound by."""
        sent = [(row["conversion"] or {}).get("email") for row in deliveries]
        return {
            one
            for email, user in [(who, who), *((None, key) for key in customers)]
            + [(address, None) for address in sent]
            for one in identities(email, user)
        }

    def _bound(
        self, connection: Connection, known: set[Identity], deliveries: Sequence[Row]
    ) -> list[Row]:
        """Return what the customer is known to be bound by, or was in the visit of a delivery."""
        table = self._tables.binding
        hashes = {key.hash(one) for key in self._bindings.keys(connection) for one in known}
        visits = {visit_of(row) for row in deliveries if row["click"]}
        near = table.c.click_id.in_({row["click_id"] for row in deliveries if row["click"]})
        found = _rows(connection, select(table).where(or_(table.c.identity.in_(hashes), near)))
        return [row for row in found if row["identity"] in hashes or visit_of(row) in visits]

    def _clicks(self, connection: Connection, brought: Sequence[Row]) -> list[Row]:
        table = self._tables.click
        named = {(row["network"], row["click_id"]) for row in brought if row["click_id"]}
        named |= {
            (touch["network"], touch["click_id"])
            for row in brought
            for touch in row["touches"] or ()
        }
        if not named:
            return []
        theirs = or_(*(_is(table, *one) for one in sorted(named)))
        return _rows(connection, select(table).where(theirs).order_by(table.c.id))


def _is(table: Table, network: str, click_id: str) -> Any:
    return and_(table.c.click_id == click_id, table.c.network == network)


def _rows(connection: Connection, found: Select[Any]) -> list[Row]:
    return [dict(row) for row in connection.execute(found).mappings()]
