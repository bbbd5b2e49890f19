"""The outbox: it adds deliveries, finds those that are there, and releases those that a view has armed.

Marker and effect are one row: the UNIQUE constraint on (network, dedupe) is the only de-duplication,
and `add` is one upsert, never a read and then an insert. Given a connection, nothing here begins,
commits or rolls back. Workers claim (`claims`) and settle (`settling`).

The upsert inserts a delivery, lets it take over, or changes nothing. A row that has nothing to send (no
click; withdrawn by its view; refused for another one's sake, before it was sent) gives way to a later one
that has, and one that a view has armed to one that waits for no view: that view may still fail, and would
withdraw what another request has committed. Any other row stays as it is, and the caller reads the one
that was there first. It is compiled once (`CompiledOnce`): SQLAlchemy's work for each execution would
double what recording costs in the caller's own request.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    func,
    literal_column,
    not_,
    or_,
    select,
    update,
)

from ...rules.attribution import Reason
from ...rules.delivery import Delivery
from ...rules.identity import email_of, keyed_hash
from ...rules.states import REPLACEABLE, SENDABLE, Status
from ..database.listener import notification
from ..database.storage import Storage
from ..dialects.servers import as_committed, can_notify, may_notify
from ..dialects.statements import CompiledOnce, returned, returning, upsert
from ..privacy.keyring import Installation, Keyring
from ..privacy.seals import Seals
from .dependents import happened_at, has_reversal, undone_at
from .rows import delivery_of, row_of

Identity = tuple[str, ...]

#: A takeover keeps these; the rest are not known when a delivery is added. Its attempts are numbered
#: on: those that were made before stay.
_KEPT = ("id", "network", "dedupe", "created_at", "attempts", "known_as")
#: What a dependent has of its dependency.
_INHERITED = ("partner_key", "sub_id", "currency", "known_as")
_UNKNOWN = ("ambiguous_at", "verify_at", "checks", "resent", "read_to", "acked_at")


class Outbox:
    """The deliveries of one database."""

    def __init__(self, storage: Storage, keyring: Keyring) -> None:
        self._storage = storage
        self.keyring = keyring
        self.seals = Seals(storage.tables, keyring)
        self._rows = storage.tables.delivery
        rows = storage.tables.delivery
        self._told = select(rows).where(
            # By the unique index, which begins with the network.
            rows.c.network.in_(bindparam("networks", expanding=True)),
            rows.c.dedupe == bindparam("its_dedupe"),
        )
        self._installation = Installation(storage)
        self._upserts = CompiledOnce(storage.tables.delivery, self._upsert)

    # -- adding -------------------------------------------------------------------------------

    def add(
        self,
        connection: Connection,
        draft: Delivery,
        identity: Identity,
        parent: Identity | None = None,
    ) -> Delivery:
        """Insert `draft` in the caller's transaction; return it, or the one that was there first.

        An empty `identity` is like no other; `parent` is the identity of the conversion that must
        be accepted first. Raises what the database raises.
        """
        dedupe = self.hashed(connection, identity)
        if parent is not None:
            draft = replace(draft, parent=self.hashed(connection, parent))
        sort = may_notify(connection), parent is not None
        result = self._upserts.execute(connection, sort, row_of(draft, dedupe))
        if result.returns_rows:
            added = returned(result)
            if added is not None:
                return self.seals.reconcile(connection, draft.stored(added, dedupe))
        same = and_(self._rows.c.network == draft.network, self._rows.c.dedupe == dedupe)
        found = as_committed(select(self._rows).where(same), connection)
        there = delivery_of(connection.execute(found).mappings().one())
        # Where nothing is returned, 1 is counted for a row that is new, and 2 for one that changed.
        new = not result.returns_rows and result.rowcount == 1
        return self.seals.reconcile(connection, there) if new else there

    def _upsert(self, connection: Connection, sort: tuple[bool, bool]) -> Any:
        notifies, dependent = sort
        return _adding(connection, self._rows, notifies=notifies, dependent=dependent)

    def told(
        self, connection: Connection, identity: Identity, networks: Sequence[str]
    ) -> Delivery | None:
        """Return the delivery of a conversion at any of these networks: the newest with a click."""
        these = {"networks": networks, "its_dedupe": self.hashed(connection, identity)}
        found = connection.execute(self._told, these).mappings()
        every = sorted(map(delivery_of, found), key=lambda one: one.id, reverse=True)
        return next((one for one in every if one.click is not None), next(iter(every), None))

    def person_of(self, connection: Connection, delivery: Delivery) -> str | None:
        """Return the hash of the person whom a stored delivery is of, where that is known."""
        rows = self._rows
        found: str | None = connection.scalar(select(rows.c.person).where(rows.c.id == delivery.id))
        return found

    def is_undone(self, connection: Connection, delivery: Delivery) -> bool:
        """Say whether the network has undone a payment."""
        return has_reversal(connection, self._rows, delivery)

    def has(self, connection: Connection, identity: Identity) -> bool:
        """Say whether a conversion is here, at any network."""
        rows, dedupe = self._rows, self.hashed(connection, identity)
        return connection.scalar(select(rows.c.id).where(rows.c.dedupe == dedupe)) is not None

    def happened_at(self, connection: Connection, identity: Identity) -> int | None:
        """Return when a conversion was, in epoch milliseconds; 0: nobody said; None: it is not here."""
        return happened_at(connection, self._rows, self.hashed(connection, identity))

    def undone_at(self, connection: Connection, payment: Identity, customer: str) -> int | None:
        """Return when a customer's payment was undone, in epoch milliseconds, if that stands."""
        return undone_at(connection, self._rows, self.hashed(connection, payment), customer)

    def share(self, connection: Connection, delivery: Delivery, token: str) -> None:
        """Another view committed the same: the one that armed the row may not withdraw it now."""
        rows = self._rows
        armed = (rows.c.id == delivery.id, rows.c.status == Status.ARMED.value)
        connection.execute(update(rows).where(*armed).values(lease_token=token))

    def release(self, delivery_id: int, token: str, now: datetime) -> bool:
        """The view that armed the row succeeded: send it now. Says whether it still held it."""
        return self._leave_armed(delivery_id, token, status=Status.PENDING.value, due_at=now)

    def withdraw(self, delivery_id: int, token: str, now: datetime, why: str) -> bool:
        """The view that armed the row failed: do not send it, but keep why. Says as `release` does."""
        values = {"due_at": None, "settled_at": now, "detail": why}
        return self._leave_armed(delivery_id, token, status=Status.WITHDRAWN.value, **values)

    def _leave_armed(self, delivery_id: int, token: str, **values: Any) -> bool:
        rows = self._rows
        mine = (rows.c.id == delivery_id, rows.c.lease_token == token)
        armed = update(rows).where(*mine, rows.c.status == Status.ARMED.value)

        def leave(connection: Connection) -> bool:
            left = connection.execute(armed.values(lease_token=None, **values)).rowcount == 1
            if can_notify(connection):
                connection.execute(select(notification()))
            return left

        return self._storage.write(leave)

    def person(self, connection: Connection, email: str) -> str | None:
        """Return the hash by which a delivery is found when its person asks to be forgotten."""
        address, key = email_of(email), self.keyring.person(connection)
        return None if address is None or key is None else key.hash("email", address)

    def hashed(self, connection: Connection, identity: Identity) -> str:
        """Return the keyed hash of what makes a conversion itself; none is like an empty one's.

        It outlives the customer key in a pruned row.
        """
        if not identity:
            return secrets.token_hex(32)
        return keyed_hash(self._installation.key(connection).encode(), *identity)


def _in(values: tuple[str, ...]) -> list[Any]:
    return [_text(value) for value in values]


def _text(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value!s}'")


def _adding(connection: Connection, rows: Table, *, notifies: bool, dependent: bool) -> Any:
    """Return the statement that adds a delivery, with a parameter for each column that is known.

    Where it can return anything it returns the row's id, or nothing when another row stays. Its
    commit wakes the workers that listen, if it `notifies`. A `dependent` delivery has a parent, whose
    partner, and whose amount, it takes over.
    """
    known = [column.name for column in rows.c if column.name not in ("id", *_UNKNOWN)]
    values: dict[str, Any] = {name: bindparam(name) for name in known}
    if dependent:
        values |= _as_its_parent_has(rows)
    # `status` decides who takes over, so it goes last.
    replaced = [name for name in known if name not in (*_KEPT, "status")] + ["status"]
    adding = upsert(
        connection,
        rows,
        ("network", "dedupe"),
        where=lambda new: _takes_over(rows, new),
        changes=lambda new: [(name, new[name]) for name in replaced],
        values=values,
    )
    notified = (notification(),) if notifies and can_notify(connection) else ()
    return returning(connection, adding, rows.c.id, *notified)


def _as_its_parent_has(rows: Table) -> dict[str, Any]:
    """Return the columns that a dependent copies of its dependency, where it has none itself."""
    parent = rows.alias("parent")
    this = (
        parent.c.network == bindparam("network", type_=rows.c.network.type),
        parent.c.dedupe == bindparam("parent", type_=rows.c.parent.type),
    )
    theirs = {name: parent.c[name] for name in _INHERITED}
    return {
        name: func.coalesce(
            bindparam(name, type_=rows.c[name].type), select(value).where(*this).scalar_subquery()
        )
        for name, value in {**theirs, "amount": -parent.c.amount}.items()
    }


def _takes_over(rows: Table, new: Any) -> ColumnElement[bool]:
    unasked = and_(rows.c.status == _text(Status.REFUSED), rows.c.attempts == literal_column("0"))
    # Whoever was discarded by hand comes back by hand alone, however often they sign up.
    credited = new.reason == _text(Reason.CREDITED)
    final = and_(rows.c.reason == _text(Reason.DISCARDED), not_(credited))
    given_up = and_(or_(rows.c.status.in_(_in(REPLACEABLE)), unasked), not_(final))
    return or_(
        and_(given_up, new.status.in_(_in(SENDABLE))),
        and_(rows.c.status == _text(Status.ARMED), new.status == _text(Status.PENDING)),
    )
