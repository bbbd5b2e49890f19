"""What must hold at the end of every history, whatever happened in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.simulation.database import Database
from tests.simulation.events import History, Record
from tests.simulation.network import Ledger
from tests.simulation.site import Told

Row = dict[str, Any]


def orphans(database: Database) -> list[Row]:
    """Return the rows that somebody has a lease on."""
    return database.rows(
        "SELECT id, lease_token, due_at FROM s2s_delivery WHERE lease_token NOT NULL"
    )


def still_orphans(database: Database, held: list[Row]) -> list[str]:
    """Name those that are still held under the same token."""
    tokens = {row["lease_token"] for row in orphans(database)}
    late = [row for row in held if row["lease_token"] in tokens]
    return [f"not resumed within one lease: delivery {row['id']}" for row in late]


def broken_promises(
    database: Database, history: History, ledger: Ledger, told: Mapping[int, Told]
) -> list[str]:
    """Compare the site's database with what the network really did."""
    rows = database.rows("SELECT * FROM s2s_delivery ORDER BY id")
    attempts = database.rows("SELECT * FROM s2s_attempt")
    committed = {row["record"] for row in database.rows("SELECT record FROM sim_truth")}
    violations = [
        f"{row['what']}: delivery {row['delivery']}"
        for row in database.rows("SELECT * FROM sim_log")
    ]
    violations += [
        f"lost: {name} was sent before its customer counted" for name in ledger.too_early
    ]
    violations += _of_rows(rows, attempts, ledger)
    violations += _of_network(ledger)
    violations += _of_records(rows, committed, history, ledger, told)
    return violations


# -- the site's own rows ----------------------------------------------------------------------


def _of_rows(rows: list[Row], attempts: list[Row], ledger: Ledger) -> list[str]:
    closed = {(row["delivery_id"], row["number"]): row for row in attempts if row["closed_at"]}
    violations = []
    for row in rows:
        name, status = _name(row), row["status"]
        if status in ("delivered", "confirmed"):
            if (row["id"], row["attempts"]) not in closed:
                violations.append(f"an attempt was never closed: {name} is {status}")
            if not ledger.answered[name] and not ledger.written[name]:
                violations.append(f"{status} without a 2xx: {name}")
            if status == "confirmed" and row["customer_key"] not in ledger.customers:
                violations.append(f"confirmed without a record: {name}")
        elif status == "withdrawn":
            if ledger.reached[name]:
                violations.append(f"withdrawn, and sent: {name}")
        elif status != "unattributed":
            violations.append(f"never came to its end: {name} is {status} ({row['detail']})")
    return violations


def _name(row: Row) -> str:
    fields = json.loads(row["conversion"] or "{}")
    if row["kind"] == "signup":
        return f"signup:{row['customer_key']}"
    if row["kind"] == "reversal":
        return f"reversal:{fields.get('transaction_key')}"
    return f"{row['kind']}:{fields.get('key')}"


# -- the network ------------------------------------------------------------------------------


def _of_network(ledger: Ledger) -> list[str]:
    twice = [name for name, count in ledger.rewards.items() if count > 1]
    violations = [f"rewarded twice: {name}" for name in twice]
    several = [key for key, xids in ledger.xids.items() if len(xids) > 1]
    return violations + [f"a customer sent under two clicks: {key}" for key in several]


# -- what the visitors did --------------------------------------------------------------------


def _of_records(
    rows: list[Row],
    committed: set[int],
    history: History,
    ledger: Ledger,
    told: Mapping[int, Told],
) -> list[str]:
    status = {_name(row): row["status"] for row in rows}
    by_name: dict[str, list[Record]] = {}
    for event in history.events:
        if isinstance(event, Record):
            by_name.setdefault(event.name, []).append(event)
    credited = {
        records[0].customer
        for records in by_name.values()
        if records[0].what == "signup" and _wanted(records, committed, told, with_click=True)
    } | set(history.older)
    violations = []
    for name, records in by_name.items():
        first = records[0]
        with_click = first.what == "signup"
        wanted = _wanted(records, committed, told, with_click=with_click)
        if wanted and first.customer in credited and not _has(ledger, first):
            if _depends_on_the_unwanted(first, by_name, committed, told):
                continue
            violations.append(f"lost: {name} (its row: {status.get(name, 'none')})")
        if not _possible(records, committed, told) and ledger.reached[name]:
            violations.append(f"sent, and never committed: {name}")
    return violations + _left_over(by_name, ledger)


def _left_over(by_name: Mapping[str, list[Record]], ledger: Ledger) -> list[str]:
    """Name the parts of a payment that stand at the network though it was undone there."""
    parts = [records[0] for records in by_name.values() if records[0].what == "refund"]
    return [
        f"a part of an undone payment stands: {part.name}"
        for part in parts
        if ledger.rewards[part.name] and part.of in ledger.reversed
        if part.key not in ledger.reversed
    ]


def _wanted(
    records: list[Record], committed: set[int], told: Mapping[int, Told], *, with_click: bool
) -> bool:
    """Whether one of these was committed, and its view did not fail afterwards."""
    return any(
        (record.number in committed or told[record.number].stored)
        and record.end == "commit"
        and (record.xid is not None or not with_click)
        for record in records
    )


def _possible(records: list[Record], committed: set[int], told: Mapping[int, Told]) -> bool:
    """Whether one of these may rightly have been sent."""
    return any(_may_be_sent(told[one.number], one.number in committed) for one in records)


def _may_be_sent(told: Told, committed: bool) -> bool:
    if told.event.how == "alone":
        return True
    if not committed:
        return False
    if told.event.end != "fail":
        return True
    # Its view failed: within the lease, and with a database that took the withdrawal, nothing
    # may be sent. One that died, or took longer, has a customer all the same.
    return told.seconds is None or told.seconds > 55 or bool(told.error)


def _has(ledger: Ledger, record: Record) -> bool:
    if record.what == "signup":
        return record.customer in ledger.customers
    if record.what == "reversal":
        return record.of in ledger.reversed
    return bool(ledger.rewards[record.name])


def _depends_on_the_unwanted(
    record: Record,
    by_name: dict[str, list[Record]],
    committed: set[int],
    told: Mapping[int, Told],
) -> bool:
    """Whether it pays back a transaction that was never committed, or whose view failed."""
    if not record.of:
        return False
    paid = by_name.get(f"transaction:{record.of}", [])
    return not _wanted(paid, committed, told, with_click=False)
