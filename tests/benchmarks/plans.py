"""How a database says that it runs the package's own statements: `EXPLAIN` of what was executed.

The statements are caught on their way to the driver, so what is explained is what runs, and each
is explained with its own parameters in a transaction that is rolled back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, event

from flask_s2s import Click, Services, Signup
from flask_s2s.recording.draft import Drafts
from flask_s2s.rules.attribution import Attribution, Reason

_EXPLAIN = {
    "sqlite": "EXPLAIN QUERY PLAN ",
    "postgresql": "EXPLAIN (FORMAT JSON) ",
    "mariadb": "EXPLAIN ",
}
_INDEX = {
    "sqlite": re.compile(r"\b(?:SEARCH|SCAN) s2s_delivery USING (?:COVERING )?INDEX (\w+)"),
    "postgresql": re.compile(r'"Index Name": "(\w+)"'),
    # After a bar: an index whose rows are only compared with those that were found.
    "mariadb": re.compile(r'"key": "(\w+)(?:\|\w+)?"'),
}
#: How each database says that it reads a table, or an index, from one end to the other.
SCANS = {
    "sqlite": re.compile(r"SCAN s2s_delivery"),
    "postgresql": re.compile(r"Seq Scan"),
    "mariadb": re.compile(r'"type": "(ALL|index)"'),
}

Statement = tuple[str, Any]
_LIMIT = re.compile(r"^SET STATEMENT \S+ = \S+ FOR ")


@contextmanager
def caught(engine: Engine) -> Iterator[list[Statement]]:
    """Yield the list into which every statement goes, with its parameters, while this is open."""
    statements: list[Statement] = []

    def catch(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        # MariaDB's limit of time stands in front of what a page asks, and is no part of its plan.
        statements.append((_LIMIT.sub("", statement), parameters))

    event.listen(engine, "before_cursor_execute", catch)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", catch)


def explained(engine: Engine, statement: Statement) -> str:
    """Return the database's plan for one statement, as text that names indexes and scans."""
    sql, parameters = statement
    if isinstance(parameters, list):  # of a statement for many rows, each is the same
        parameters = parameters[0]
    kind = engine.dialect.name
    with engine.connect() as connection:
        found = connection.exec_driver_sql(_EXPLAIN[kind] + sql, parameters)
        rows = [dict(row) for row in found.mappings()]
        connection.rollback()
    if kind == "sqlite":
        return "\n".join(row["detail"] for row in rows)
    return json.dumps(rows, indent=1, default=str)


def indexes_in(kind: str, plan: str) -> set[str]:
    """Return the names of the indexes that a plan reads."""
    return set(_INDEX[kind].findall(plan))


def statements_of(services: Services, act: Callable[[], object]) -> list[Statement]:
    """Return what `act` sends to the database about deliveries."""
    with caught(services.storage.engine()) as statements:
        act()
    return [one for one in statements if "s2s_delivery" in one[0]]


def claim(services: Services, closed: Sequence[str] = ()) -> None:
    """Claim what is due, as a worker does that leaves the closed lanes alone."""
    now = services.clock.now()
    services.supervisor.claims.claim(limit=8, now=now, lease=timedelta(seconds=60), closed=closed)


def add(services: Services) -> None:
    """Add a sign-up, as a site does."""
    now = services.clock.now()
    signup = Signup(customer_key="added")
    click = Attribution(Click(click_id="a1B2c3D4e5F6g7", at=now), Reason.COOKIE)
    draft = Drafts(services.settings, services.networks).draft(signup, click, now)
    with services.storage.engine().begin() as connection:
        services.outbox.add(connection, draft, signup.identity)


def plans_of(services: Services) -> dict[str, str]:
    """Return, for claiming, asking when the next is due, and adding, what the database reads."""
    return {
        "claim": reads(services, lambda: claim(services)),
        "next due": reads(services, services.supervisor.claims.next_due),
        "add": f"finds what is there already by {finds_the_same_by(services)}",
    }


def reads(services: Services, act: Callable[[], object]) -> str:
    """Say which indexes `act` reads deliveries by, and whether it walks through all."""
    engine = services.storage.engine()
    kind = engine.dialect.name
    plans = [explained(engine, one) for one in statements_of(services, act)]
    read = sorted(set().union(*(indexes_in(kind, plan) for plan in plans)))
    scans = any(SCANS[kind].search(plan) for plan in plans)
    return f"reads by {', '.join(read)}" + ("; SCANS" if scans else "")


def finds_the_same_by(services: Services) -> str:
    """Say by which index an add finds the row that is there already. Adds one.

    PostgreSQL's plan tells. SQLite's program opens the index and tests it for a conflict. MariaDB
    tells of the reading that follows the insert, and for the insert counts what it has read.
    """
    engine = services.storage.engine()
    insert, *after = statements_of(services, lambda: add(services))
    if engine.dialect.name == "postgresql":
        arbiters = r'"Conflict Arbiter Indexes": \[\s*"(\w+)"'
        return ", ".join(re.findall(arbiters, explained(engine, insert)))
    if engine.dialect.name == "sqlite":
        return _tested_by_sqlite(engine, insert)
    if _is_scanned_by_mariadb(engine, insert):
        return "a scan"
    return ", ".join(indexes_in("mariadb", explained(engine, after[0])))


def _tested_by_sqlite(engine: Engine, statement: Statement) -> str:
    sql, parameters = statement
    with engine.connect() as connection:
        program = connection.exec_driver_sql("EXPLAIN " + sql, parameters).all()
        pages = connection.exec_driver_sql("SELECT rootpage, name FROM sqlite_schema").all()
    names = {page: name for page, name in pages}
    # What is returned goes through a table in memory, which is no table of the file.
    opened = {step.p1: names[step.p2] for step in program if step.opcode == "OpenWrite"}
    walks = ("Rewind", "Next", "Last", "Prev")
    if any(step.opcode in walks and step.p1 in opened for step in program):
        return "a scan"
    return ", ".join(opened[step.p1] for step in program if step.opcode == "NoConflict")


def _is_scanned_by_mariadb(engine: Engine, insert: Statement) -> bool:
    def rows_walked() -> int:
        status = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'")
        counts = {name: int(count) for name, count in status.all()}
        return counts["Handler_read_rnd_next"] + counts["Handler_read_next"]

    with engine.connect() as connection:
        # Showing the status is a walk of its own, as long each time.
        first, second = rows_walked(), rows_walked()
        connection.exec_driver_sql(*insert)
        third = rows_walked()
        connection.rollback()
    return third - second > second - first


#: So many steps of SQLite's program are one row at most: one for each column, and what they cost it.
_STEPS = 150


def rows_read(engine: Engine, statement: Statement) -> int:
    """Run a statement that reads, and return how many rows of tables and indexes it looked at.

    PostgreSQL tells in its plan, MariaDB counts for each session; of SQLite's program the steps are
    counted, and divided by the most that a row takes.
    """
    sql, parameters = statement
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            asking = f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}"
            (answer,) = connection.exec_driver_sql(asking, parameters).scalar_one()
            return _scanned(answer["Plan"])
        if engine.dialect.name == "sqlite":
            return _steps_of_sqlite(connection.connection.dbapi_connection, sql, parameters)
        counted = "SHOW SESSION STATUS LIKE 'Handler_read%%'"
        reads = []
        for asked in (None, (sql, parameters)):
            if asked is not None:
                connection.exec_driver_sql(*asked).all()
            reads.append(sum(int(n) for _, n in connection.exec_driver_sql(counted).all()))
        # Showing the status is a walk of its own, as long each time.
        connection.exec_driver_sql(counted).all()
        again = sum(int(n) for _, n in connection.exec_driver_sql(counted).all())
        once = sum(int(n) for _, n in connection.exec_driver_sql(counted).all()) - again
        return reads[1] - reads[0] - once


def _scanned(plan: Any) -> int:
    mine = 0
    if "Relation Name" in plan:
        in_vain = plan.get("Rows Removed by Filter", 0) + plan.get(
            "Rows Removed by Index Recheck", 0
        )
        mine = (plan["Actual Rows"] + in_vain) * plan["Actual Loops"]
    return int(mine) + sum(map(_scanned, plan.get("Plans", ())))


def _steps_of_sqlite(connection: Any, sql: str, parameters: Any) -> int:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(step, 1)
    try:
        connection.execute(sql, parameters).fetchall()
    finally:
        connection.set_progress_handler(None, 1)
    return steps // _STEPS
