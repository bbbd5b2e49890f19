"""The invariants: each holds at the end of every history, whatever happened in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any

from tests.simulation.database import Database
from tests.simulation.events import Event, History, Record
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
    database: Database,
    history: History,
    ledger: Ledger,
    told: Mapping[int, Told],
    forgotten: Set[str] = frozenset(),
) -> list[str]:
    """Compare the site's database with what the network really did.

    Of the `forgotten` customers a restored database does not know all: nothing is promised of them.
    """
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
    theirs = [name for event in history.events for name in _names_of(event, forgotten)]
    return [one for one in violations if not any(name in one for name in theirs)]


def _names_of(event: Event, customers: Set[str]) -> list[str]:
    if not isinstance(event, Record) or event.customer not in customers:
        return []
    return [event.name, f"two clicks: {event.customer}"]


# -- the site's own rows ----------------------------------------------------------------------


def _of_rows(rows: list[Row], attempts: list[Row], ledger: Ledger) -> list[str]:
    closed = {(row["delivery_id"], row["number"]): row for row in attempts if row["closed_at"]}
    undone = {
        f"transaction:{_of(row)}"
        for row in rows
        if row["kind"] == "reversal" and row["status"] == "delivered"
    }
    violations = []
    for row in rows:
        name, status = _name(row), row["status"]
        if status in ("delivered", "confirmed"):
            if (row["id"], row["attempts"]) not in closed:
                violations.append(f"an attempt was never closed: {name} is {status}")
            told = ledger.answered[name] or ledger.written[name]
            # What a restored database may have undone before counts as undone once it is not there.
            if not told and not (row["kind"] == "reversal" and _was_dropped(row, name, ledger)):
                violations.append(f"{status} without a 2xx: {name}")
            if status == "confirmed" and not _is_on_record(row, name, ledger):
                violations.append(f"confirmed without a record: {name}")
            if status == "delivered" and name in ledger.dropped and name not in undone:
                violations.append(f"accepted, never recorded, and not told: {name}")
        elif status == "withdrawn":
            if ledger.reached[name]:
                violations.append(f"withdrawn, and sent: {name}")
        elif status != "unattributed" and not _was_dropped(row, name, ledger):
            violations.append(f"never came to its end: {name} is {status} ({row['detail']})")
    return violations


def _is_on_record(row: Row, name: str, ledger: Ledger) -> bool:
    if row["kind"] == "signup":
        return row["customer_key"] in ledger.customers
    return bool(ledger.rewards[name])


def _was_dropped(row: Row, name: str, ledger: Ledger) -> bool:
    """Whether the network said that it took this, or what this undoes, and did not."""
    return name in ledger.dropped or f"transaction:{_of(row)}" in ledger.dropped


def _of(row: Row) -> str:
    """The key of the transaction that is undone, or paid back in part."""
    fields = json.loads(row["conversion"] or "{}")
    return str(fields.get("transaction_key") or fields.get("refunds"))


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
            if {name, f"transaction:{first.of}"} & ledger.dropped:
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
        # A payment that came back once it was undone has parts again.
        if not ledger.rewards[f"transaction:{part.of}:again1"]
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
        payment = f"transaction:{record.of}"
        return record.of in ledger.reversed or _came_back_alone(ledger, payment)
    return bool(ledger.rewards[record.name]) or _came_back_alone(ledger, record.name)


def _came_back_alone(ledger: Ledger, payment: str) -> bool:
    """Whether a payment was taken by its later report alone: the view of the first one failed, and what
    undid that had nothing to undo.
    """
    return bool(ledger.rewards[f"{payment}:again1"]) and not ledger.rewards[payment]


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
