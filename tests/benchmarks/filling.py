"""Outboxes of any size, filled by the database itself: a million rows in less than a minute.

Every row is a copy of one that the package has written, under a customer key and a dedupe of its
own. Dedupes are as random as real ones: their order is what an index of a million has to bear.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Engine,
    FromClause,
    String,
    Table,
    Text,
    cast,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    table,
    text,
    type_coerce,
)
from sqlalchemy.orm import Session

from flask_s2s import Services
from flask_s2s.click import Click

_PROTOTYPE = "prototype"


def fill(
    services: Services, count: int, *, prefix: str, settled: bool = False, lane: str | None = None
) -> None:
    """Add `count` sign-ups with keys `<prefix>1`, `<prefix>2` ...: due now, or long settled.

    They are in the lane of sign-ups, unless `lane` names another.
    """
    click = Click(click_id="a1B2c3D4e5F6g7", sub_ids=("newsletter",), at=services.clock.now())
    fields: dict[str, Any] = {"email": "ada.rowe@example.com", "name": "Ada Rowe"}
    tables = services.storage.tables
    rows = tables.delivery
    # In one transaction: a worker that waits would take the prototype before it is copied.
    with Session(services.storage.engine()) as session, session.begin():
        services.track_signup(customer_key=_PROTOTYPE, click=click, session=session, **fields)
        connection = session.connection()
        moved = {} if lane is None else {"lane": literal(lane)}
        _copy(connection, rows, count, prefix, settled, moved)
        connection.execute(delete(rows).where(rows.c.customer_key == _PROTOTYPE))
        if settled:
            _copy_attempts(connection, rows, tables.attempt, prefix)


def analyse(engine: Engine) -> None:
    """Let the database look at what it has, as its own housekeeping would in time."""
    statements = {
        "sqlite": ["ANALYZE"],
        "postgresql": ["VACUUM ANALYZE s2s_delivery", "VACUUM ANALYZE s2s_attempt"],
        "mariadb": ["ANALYZE TABLE s2s_delivery", "ANALYZE TABLE s2s_attempt"],
    }
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements[engine.dialect.name]:
            connection.execute(text(statement)).close()


def _copy(
    connection: Connection,
    rows: Table,
    count: int,
    prefix: str,
    settled: bool,
    moved: dict[str, Any],
) -> None:
    numbers = _numbers(connection.dialect.name, count)
    key: Any = func.concat(prefix, cast(numbers.c.i, String(20)))
    if connection.dialect.name == "sqlite":
        key = literal(prefix).concat(cast(numbers.c.i, String(20)))
    written = cast(rows.c.conversion, Text)
    changes: dict[str, Any] = {
        "customer_key": key,
        "dedupe": _random(connection.dialect.name, numbers.c.i, prefix),
        "conversion": _as_json(connection, func.replace(written, _PROTOTYPE, key)),
        **moved,
    }
    if settled:
        changes |= {
            "status": literal("delivered"),
            "due_at": null(),
            "settled_at": rows.c.created_at,
            "attempts": literal_column("1"),
        }
    names = [one.name for one in rows.c if one.name != "id"]
    copied = [changes.get(name, rows.c[name]) for name in names]
    found = select(*copied).select_from(rows.join(numbers, literal_column("1 = 1")))
    found = found.where(rows.c.customer_key == _PROTOTYPE)
    connection.execute(insert(rows).from_select(names, found, include_defaults=False))


def _copy_attempts(connection: Connection, rows: Table, attempts: Table, prefix: str) -> None:
    values = {
        "delivery_id": rows.c.id,
        "number": literal_column("1"),
        "lane": rows.c.lane,
        "lease_token": literal("0" * 32),
        "opened_at": rows.c.created_at,
        "closed_at": rows.c.created_at,
        "outcome": literal("accepted"),
        "http_status": literal_column("200"),
        "duration_ms": literal_column("20"),
        "answer": literal(""),
    }
    mine = rows.c.customer_key.like(f"{prefix}%")
    found = select(*values.values()).where(mine)
    connection.execute(insert(attempts).from_select(list(values), found, include_defaults=False))


def _numbers(dialect: str, count: int) -> FromClause:
    """Return a table whose column `i` counts from 1 to `count`."""
    if dialect == "sqlite":
        first = select(literal_column("1").label("i")).cte("numbers", recursive=True)
        return first.union_all(select(first.c.i + 1).where(first.c.i < count))
    if dialect == "postgresql":
        return func.generate_series(1, count).table_valued("i", name="numbers").render_derived()
    return select(table(f"seq_1_to_{count}", column("seq")).c.seq.label("i")).subquery("numbers")


def _random(dialect: str, number: Any, prefix: str) -> Any:
    if dialect == "sqlite":
        return func.lower(func.hex(func.randomblob(32)))
    digest = func.md5(func.concat(prefix, cast(number, String(20))))
    return func.concat(digest, digest)


def _as_json(connection: Connection, value: Any) -> Any:
    return (
        cast(value, JSON) if connection.dialect.name == "postgresql" else type_coerce(value, Text)
    )
