"""The one statement that adds a delivery: insert it, let it take over, or change nothing.

A row that has nothing to send (no click; withdrawn by its view; refused for another one's sake, before
it was sent) gives way to a later one that has, and one that a view has armed to one that waits for no
view: that view may still fail, and would withdraw what another request has committed. Any other row
stays as it is, and the caller reads what was there first.

It is compiled once and runs as text: it is part of the caller's own request, and what SQLAlchemy
does anew for each execution of a compiled statement would double what recording costs there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Table,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
)
from sqlalchemy.engine import Dialect

from ..tables import inserting
from .frozen import MOVED
from .listening import notification

_GIVES_WAY = ("unattributed", "withdrawn")
_TAKES_OVER = ("pending", "armed", "dry_run")
#: A takeover keeps these; the rest are not known when a delivery is added. Its attempts are numbered
#: on: those that were made before stay.
_KEPT = ("id", "network", "dedupe", "created_at", "attempts")
_UNKNOWN = ("ambiguous_at", "verify_at", "checks", "resent", "read_to")


class Upsert:
    """The statement as text, and how each of its values is bound, for one engine's dialect."""

    def __init__(self, dialect: Dialect, rows: Table) -> None:
        compiled: Any = upsert(dialect.name, rows).compile(dialect=dialect)
        self._text = str(compiled)
        self._positional: bool = compiled.positional
        names = compiled.positiontup if compiled.positional else compiled.params
        #: Name, what turns its value into the driver's, and its value if it is always the same.
        self._binds = [
            (name, _processor(dialect, rows, name), compiled.params[name]) for name in names
        ]

    def execute(self, connection: Connection, row: Mapping[str, Any]) -> CursorResult[Any]:
        """Run it with the values of `row`. Raises what the database raises."""
        values = []
        for name, processor, fixed in self._binds:
            value = row.get(name, fixed)
            values.append(value if processor is None else processor(value))
        if self._positional:
            return connection.exec_driver_sql(self._text, tuple(values))
        named = {bind[0]: value for bind, value in zip(self._binds, values, strict=True)}
        return connection.exec_driver_sql(self._text, named)


def _processor(dialect: Dialect, rows: Table, name: str) -> Any:
    if name not in rows.c:
        return None
    return rows.c[name].type.dialect_impl(dialect).bind_processor(dialect)


def _in(values: tuple[str, ...]) -> list[Any]:
    return [literal_column(f"'{value}'") for value in values]


def upsert(dialect: str, rows: Table) -> Any:
    """Return the statement, with a parameter for each column that is known.

    On PostgreSQL and SQLite it returns the row's id, or nothing when another row stays; on
    PostgreSQL its commit wakes the workers that listen.
    """
    known = [column.name for column in rows.c if column.name not in ("id", *_UNKNOWN)]
    replaced = [name for name in known if name not in _KEPT]
    values: dict[str, Any] = {name: bindparam(name) for name in known}
    if dialect in ("mysql", "mariadb"):
        changing = inserting(dialect)(rows).values(values)
        new = changing.inserted
        takes_over = _takes_over(rows, new)
        # Assigned from left to right: `status` decides, so it goes last.
        ordered = [name for name in replaced if name != "status"] + ["status"]
        return changing.on_duplicate_key_update(
            [(name, func.if_(takes_over, new[name], rows.c[name])) for name in ordered]
        )
    notified = (notification(),) if dialect == "postgresql" else ()
    adding = inserting(dialect)(rows).values(values)
    excluded = adding.excluded
    return adding.on_conflict_do_update(
        index_elements=["network", "dedupe"],
        set_={name: excluded[name] for name in replaced},
        where=_takes_over(rows, excluded),
    ).returning(rows.c.id, *notified)


def _takes_over(rows: Table, new: Any) -> ColumnElement[bool]:
    # In another database now, where it is open: taken over here, it would be sent by both.
    here = or_(rows.c.detail.is_(None), rows.c.detail != literal_column(f"'{MOVED}'"))
    unasked = and_(rows.c.status.in_(_in(("refused",))), rows.c.attempts == literal_column("0"))
    given_up = or_(rows.c.status.in_(_in(_GIVES_WAY)), unasked)
    return or_(
        and_(given_up, here, new.status.in_(_in(_TAKES_OVER))),
        and_(rows.c.status.in_(_in(("armed",))), new.status.in_(_in(("pending",)))),
    )
