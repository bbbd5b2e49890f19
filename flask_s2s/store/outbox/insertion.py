"""The one statement that adds a delivery: insert it, let it take over, or change nothing.

A row that has nothing to send (no click; withdrawn by its view; refused for another one's sake, before
it was sent) gives way to a later one that has, and one that a view has armed to one that waits for no
view: that view may still fail, and would withdraw what another request has committed. Any other row
stays as it is, and the caller reads the one that was there first.

It is compiled once (`CompiledOnce`): SQLAlchemy's work for each execution would double what recording
costs in the caller's own request.
"""

from __future__ import annotations

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
)

from ...rules.attribution import Reason
from ...rules.states import REPLACEABLE, SENDABLE, Status
from ..database.listener import notification
from ..dialects.servers import can_notify
from ..dialects.statements import returning, upsert

#: A takeover keeps these; the rest are not known when a delivery is added. Its attempts are numbered
#: on: those that were made before stay.
_KEPT = ("id", "network", "dedupe", "created_at", "attempts", "known_as")
#: What a dependent has of its dependency.
_INHERITED = ("partner_key", "sub_id", "currency", "known_as")
_UNKNOWN = ("ambiguous_at", "verify_at", "checks", "resent", "read_to", "acked_at")


def _in(values: tuple[str, ...]) -> list[Any]:
    return [_text(value) for value in values]


def _text(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value!s}'")


def delivery_upsert(
    connection: Connection, rows: Table, *, notifies: bool = True, dependent: bool = False
) -> Any:
    """Return it, with a parameter for each column that is known.

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
