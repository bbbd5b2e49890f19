"""Everything kept about one customer: to be shown to them, or to be forgotten.

Who is meant is said by the site's own customer key, or by the e-mail address in whatever spelling: a
keyed hash of its one normal form stands beside each delivery, and among bindings. A row that was
emptied before is nobody's any more, and sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Table,
    and_,
    delete,
    or_,
    select,
    update,
)

from ...conversion import Signup
from ...rules.identity import Identity, email_of, identities
from ...rules.states import Status
from ..bindings import Bindings
from ..database.storage import Storage
from ..dialects.servers import any_key
from ..outbox.outbox import Outbox
from .erasing import PERSONAL, Erasing, visit_of

#: What ties a row to its customer.
_TIES: dict[str, Any] = {"customer_key": None, "known_as": None, "parent": None}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalData:
    """The rows about one customer."""

    #: Whole rows; each delivery with its `attempts`.
    deliveries: list[Row]
    clicks: list[Row]
    bindings: list[Row]
    #: Links that carried a click, and were used by this customer.
    click_tokens: list[Row]

    def customers(self) -> list[str]:
        """Return the customers' keys."""
        return sorted({row["customer_key"] for row in self.deliveries if row["customer_key"]})

    def counts(self) -> dict[str, int]:
        """Return how many rows there are, by what becomes of them when they are forgotten."""
        statuses = [Status(row["status"]) for row in self.deliveries]
        stopped = sum(status.undelivered for status in statuses)
        return {
            "emptied": len(statuses) - stopped,
            "withdrawn": stopped,
            "in_flight": statuses.count(Status.SENDING),
            "attempts": sum(len(row["attempts"]) for row in self.deliveries),
            "clicks": len(self.clicks),
            "bindings": len(self.bindings),
            "click_tokens": len(self.click_tokens),
        }


class PersonalRecords:
    """Reads and empties them, in one database."""

    def __init__(
        self,
        storage: Storage,
        bindings: Bindings,
        outbox: Outbox,
    ) -> None:
        self._storage = storage
        self._tables = storage.tables
        self._bindings = bindings
        self._outbox = outbox
        self._erasing = Erasing(storage.tables)

    def read(self, who: str) -> PersonalData:
        """Return what is kept about the customer with this key or e-mail address."""
        with self._storage.connect() as connection:
            return self._read(connection, who, self._customers(connection, who))

    def customers(self, who: str) -> list[str]:
        """Return the keys of the customers with this key or e-mail address."""
        with self._storage.connect() as connection:
            return self._customers(connection, who)

    def forget(self, who: str, now: datetime) -> dict[str, int]:
        """Forget it, in one transaction; return what `PersonalData.counts` says of what was there."""
        with self._storage.connect() as connection:
            customers = self._customers(connection, who)
            hashed = self._hashed(connection, customers)
        tables = self._tables

        def erase(connection: Connection) -> dict[str, int]:
            # Also where there is none: one that begins by reading may not be let write.
            used = tables.click_token
            theirs = delete(used).where(any_key(used.c.token), used.c.customer.in_(hashed))
            tokens = connection.execute(theirs).rowcount
            # Before the clicks are read: a row of one that is stored late looks for it.
            self._erasing.note(connection, now)
            personal = self._read(connection, who, customers, lock=True)
            self._empty(connection, personal, now)
            return {**personal.counts(), "click_tokens": tokens}

        return self._storage.write(erase)

    def _empty(self, connection: Connection, personal: PersonalData, now: datetime) -> None:
        rows, attempts = self._tables.delivery, self._tables.attempt
        stopped = [row["id"] for row in personal.deliveries if _is_undelivered(row)]
        kept = [row["id"] for row in personal.deliveries if not _is_undelivered(row)]
        self._erasing.stop(connection, stopped, now, **_TIES)
        emptied = dict.fromkeys((*PERSONAL, "detail", "verify_at"), None) | _TIES
        connection.execute(update(rows).where(rows.c.id.in_(kept)).values(emptied))
        silent = update(attempts).where(attempts.c.delivery_id.in_(kept))
        connection.execute(silent.values(request=None, answer=None))
        self._outbox.seals.seal(connection, personal.deliveries)
        for table, found in (
            (self._tables.click, personal.clicks),
            (self._tables.binding, personal.bindings),
        ):
            ids = [row["id"] for row in found]
            connection.execute(delete(table).where(table.c.id.in_(ids)))

    # -- finding ------------------------------------------------------------------------------

    def _customers(self, connection: Connection, who: str) -> list[str]:
        """Return the keys of the customers who are meant."""
        rows, said = self._tables.delivery, who.strip()
        meant = rows.c.customer_key == said
        if "@" in said and (person := self._outbox.person(connection, said)):
            meant = or_(meant, rows.c.person == person)
        named = select(rows.c.customer_key).where(meant, rows.c.customer_key.is_not(None))
        found = {*connection.scalars(named), *self._unhashed(connection, said)}
        emptied = select(rows.c.id).where(self._known_otherwise(connection, [said]))
        return sorted(found if connection.scalar(emptied) is None else {*found, said})

    def _known_otherwise(self, connection: Connection, customers: Sequence[str]) -> Any:
        """Return which sign-ups keep a customer's former key, though they may have been emptied."""
        rows = self._tables.delivery
        theirs = rows.c.dedupe.in_(self._hashed(connection, customers))
        return and_(theirs, rows.c.known_as.is_not(None))

    def _unhashed(self, connection: Connection, said: str) -> list[str]:
        """Return the customers whom the hash of their address does not find.

        Their rows were recorded while nothing opened the key, or the address is the site's own key.
        """
        rows, address = self._tables.delivery, email_of(said)
        if address is None:
            return []
        key, sent = rows.c.customer_key, rows.c.conversion["email"].as_string()
        without = select(key, sent).where(rows.c.person.is_(None), sent.is_not(None))
        named = select(key, key).where(key.contains("@")).distinct()
        return [
            customer
            for found in (without.where(key.is_not(None)), named)
            for customer, email in connection.execute(found)
            if email_of(email) == address
        ]

    def _hashed(self, connection: Connection, customers: Sequence[str]) -> list[str]:
        hashed = self._outbox.hashed
        return [hashed(connection, (Signup.kind, customer)) for customer in customers]

    def _read(
        self, connection: Connection, who: str, customers: Sequence[str], *, lock: bool = False
    ) -> PersonalData:
        tables = self._tables
        rows, tokens = tables.delivery, tables.click_token
        kept = self._known_otherwise(connection, customers)
        meant = or_(rows.c.customer_key.in_(customers), kept)
        theirs = select(rows).where(meant).order_by(rows.c.id)
        deliveries = _rows(connection, theirs.with_for_update() if lock else theirs)
        self._add_attempts(connection, deliveries)
        used = tokens.c.customer.in_(self._hashed(connection, customers))
        bindings = self._bound(connection, self._known(who, customers, deliveries), deliveries)
        return PersonalData(
            deliveries=deliveries,
            clicks=self._clicks(connection, [*deliveries, *bindings]),
            bindings=bindings,
            click_tokens=_rows(connection, select(tokens).where(used)),
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
        hashes = self._bindings.hashes(connection, list(known))
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


def _is_undelivered(row: Row) -> bool:
    """Say whether forgetting ends a row; all others keep their status."""
    return Status(row["status"]).undelivered


def _is(table: Table, network: str, click_id: str) -> Any:
    return and_(table.c.click_id == click_id, table.c.network == network)


def _rows(connection: Connection, found: Select[Any]) -> list[Row]:
    return [dict(row) for row in connection.execute(found).mappings()]
