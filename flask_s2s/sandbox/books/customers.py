"""Customers, and the rule by which a conversion credits a partner.

A customer has two keys: the advertiser's (`external_key`) and the network's own (`key`). They are
never equal, because mixing them up is the classical mistake against this network.
"""

import json
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flask_s2s.sandbox.books.clicks import Click, Clicks
from flask_s2s.sandbox.books.database import Database
from flask_s2s.sandbox.books.moments import Clock, milliseconds
from flask_s2s.sandbox.books.paging import Span
from flask_s2s.sandbox.switches import Switches

#: The programme's customer fields, `api_name` -> label. `meta` keys outside them are dropped.
CUSTOMER_FIELDS = {"company": "Company", "plan": "Plan", "country": "Country"}

DAY = 86_400_000

_BY_REFERENCE = {
    "customer_key": "SELECT * FROM customer WHERE key = ? AND test = ? AND deleted_at IS NULL",
    "customer_external_key": "SELECT * FROM customer"
    " WHERE external_key = ? AND test = ? AND deleted_at IS NULL",
    "customer_email": "SELECT * FROM customer"
    " WHERE email = ? AND test = ? AND deleted_at IS NULL ORDER BY id LIMIT 1",
}

#: What a conversion post did.
Effect = Literal[
    "customer created",
    "customer recreated",
    "customer overwritten",
    "repeat ignored",
    "repeat refused",
    "unknown click ignored",
    "unknown click refused",
    "expired click ignored",
    "expired click refused",
    "deleted customer ignored",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A conversion post whose form has been checked."""

    xid: str
    customer_key: str
    test: bool
    sub_ids: list[str] = field(default_factory=list)
    #: `email`, `name`, `provider_key`, `origin`, `ip_address`, `user_agent`, `external_type`.
    details: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Somebody a partner sent, with the credit."""

    id: int
    key: str
    external_key: str
    test: bool
    xid: str
    partner: str
    #: Of the click, in the order of the link.
    sub_ids: list[str]
    #: Of the conversion post.
    posted_sub_ids: list[str]
    details: dict[str, str]
    fields: dict[str, Any]
    email: str | None
    created_at: int
    updated_at: int
    deleted_at: int | None

    @property
    def first_sid(self) -> str | None:
        """The first sub ID of the credited click."""
        return self.sub_ids[0] if self.sub_ids else None

    @property
    def last_sid(self) -> str | None:
        """The last sub ID of the credited click."""
        return self.sub_ids[-1] if self.sub_ids else None


class Customers:
    """The customers of the programme."""

    def __init__(self, database: Database, clicks: Clicks, now: Clock) -> None:
        self._database = database
        self._clicks = clicks
        self._now = now

    def convert(self, conversion: Conversion, switches: Switches) -> Effect:
        """Credit a conversion to the partner of its click, as the switches have it."""
        now = milliseconds(self._now())
        with self._database.transaction() as connection:
            known = connection.execute(
                "SELECT id, deleted_at FROM customer WHERE external_key = ? AND test = ?"
                " ORDER BY deleted_at IS NOT NULL, id DESC LIMIT 1",
                (conversion.customer_key, int(conversion.test)),
            ).fetchone()
            click = self._clicks.find(conversion.xid)
            effect = _decide(known, click, now, switches)
            if click is not None and effect in ("customer created", "customer recreated"):
                _insert(connection, conversion, click, now)
            elif click is not None and effect == "customer overwritten":
                _overwrite(connection, known["id"], conversion, click, now)
        return effect

    def find(self, key: str, *, test: bool, seen_by: int | None = None) -> Customer | None:
        """Return a live customer by either key.

        `seen_by` leaves out customers created after that moment (epoch milliseconds): a reader
        does not see the newest ones yet.
        """
        rows = self._read(
            "SELECT * FROM customer WHERE (external_key = ? OR key = ?) AND test = ?"
            " AND deleted_at IS NULL AND created_at <= ? LIMIT 1",
            (key, key, int(test), 2**62 if seen_by is None else seen_by),
        )
        return rows[0] if rows else None

    def find_for_transaction(self, reference: str, value: str, *, test: bool) -> Customer | None:
        """Return a live customer by exactly one kind of reference, as transactions name them."""
        rows = self._read(_BY_REFERENCE[reference], (value, int(test)))
        return rows[0] if rows else None

    def by_own_key(self, key: str) -> Customer | None:
        """Return a customer, live or deleted, by the network's own key."""
        rows = self._read("SELECT * FROM customer WHERE key = ?", (key,))
        return rows[0] if rows else None

    def by_id(self, customer_id: int) -> Customer | None:
        """Return a customer, live or deleted, by row."""
        rows = self._read("SELECT * FROM customer WHERE id = ?", (customer_id,))
        return rows[0] if rows else None

    def delete(self, key: str, *, test: bool) -> bool:
        """Delete a customer by either key; False when there is none."""
        cursor = self._database.write(
            "UPDATE customer SET deleted_at = ?"
            " WHERE (external_key = ? OR key = ?) AND test = ? AND deleted_at IS NULL",
            (milliseconds(self._now()), key, key, int(test)),
        )
        return cursor.rowcount > 0

    def latest(self, limit: int, before: int | None = None) -> list[Customer]:
        """Return the newest customers, live and deleted, or the newest older than one."""
        newest = 2**62 if before is None else before
        return self._read(
            "SELECT * FROM customer WHERE id < ? ORDER BY id DESC LIMIT ?", (newest, limit)
        )

    def page(self, span: Span, *, test: bool) -> tuple[list[Customer], bool]:
        """Return one page of the live customers, and whether more follow."""
        sql = (
            "SELECT * FROM customer WHERE id < ? AND test = ? AND deleted_at IS NULL"
            " AND created_at BETWEEN ? AND ? ORDER BY id DESC LIMIT ?"
            if span.downwards
            else "SELECT * FROM customer WHERE id > ? AND test = ? AND deleted_at IS NULL"
            " AND created_at BETWEEN ? AND ? ORDER BY id LIMIT ?"
        )
        return span.cut(self._read(sql, span.parameters(int(test))))

    def _read(self, sql: str, parameters: Sequence[str | int | None]) -> list[Customer]:
        return [customer_of(row) for row in self._database.all(sql, parameters)]


def customer_of(row: sqlite3.Row) -> Customer:
    """Return a row of the customer table as a value."""
    values = dict(row)
    for name in ("sub_ids", "posted_sub_ids", "details", "fields"):
        values[name] = json.loads(values[name])
    return Customer(**{**values, "test": bool(values["test"])})


def _decide(known: sqlite3.Row | None, click: Click | None, now: int, switches: Switches) -> Effect:
    if known is not None and known["deleted_at"] is None:
        if switches.repeated_customer == "conflict":
            return "repeat refused"
        if switches.repeated_customer == "ignore":
            return "repeat ignored"
    elif known is not None and switches.deleted_customer == "ignore":
        return "deleted customer ignored"
    if click is None:
        reject = switches.unknown_xid == "reject"
        return "unknown click refused" if reject else "unknown click ignored"
    if now - click.created_at > switches.window_days * DAY:
        if switches.expired_click == "reject":
            return "expired click refused"
        if switches.expired_click == "ignore":
            return "expired click ignored"
    if known is None:
        return "customer created"
    return "customer overwritten" if known["deleted_at"] is None else "customer recreated"


def _insert(connection: sqlite3.Connection, conversion: Conversion, click: Click, now: int) -> None:
    cursor = connection.execute(
        "INSERT INTO customer (key, external_key, test, created_at, updated_at, xid, partner,"
        " sub_ids, posted_sub_ids, details, fields, email)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            "cus_" + secrets.token_hex(8),
            conversion.customer_key,
            int(conversion.test),
            now,
            now,
            *_credit(conversion, click),
        ),
    )
    _index_sub_ids(connection, int(cursor.lastrowid or 0), conversion, click)


def _overwrite(
    connection: sqlite3.Connection,
    customer_id: int,
    conversion: Conversion,
    click: Click,
    now: int,
) -> None:
    connection.execute(
        "UPDATE customer SET xid = ?, partner = ?, sub_ids = ?, posted_sub_ids = ?, details = ?,"
        " fields = ?, email = ?, updated_at = ? WHERE id = ?",
        (*_credit(conversion, click), now, customer_id),
    )
    connection.execute("DELETE FROM customer_sub_id WHERE customer_id = ?", (customer_id,))
    _index_sub_ids(connection, customer_id, conversion, click)


def _credit(conversion: Conversion, click: Click) -> tuple[str | None, ...]:
    fields = {name: conversion.meta[name] for name in CUSTOMER_FIELDS if name in conversion.meta}
    return (
        click.xid,
        click.partner,
        json.dumps(click.sub_ids),
        json.dumps(conversion.sub_ids),
        json.dumps(conversion.details),
        json.dumps(fields),
        conversion.details.get("email"),
    )


def _index_sub_ids(
    connection: sqlite3.Connection, customer_id: int, conversion: Conversion, click: Click
) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO customer_sub_id (sub_id, customer_id) VALUES (?, ?)",
        [(sub_id, customer_id) for sub_id in {*click.sub_ids, *conversion.sub_ids}],
    )
