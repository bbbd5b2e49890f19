"""The tables, as SQLAlchemy Core on a caller's MetaData.

Decisions: times are whole microseconds since 1970 (one type that three databases compare alike, and
no time zone to lose). `due_at` is NULL exactly when a row has nothing left to do, so one plain index
on it stays as small as the work that is left, with ten settled rows or ten million. Click IDs and
customer keys are case-sensitive.

`s2s_meta` gets its rows with the table: the schema's version, the installation's own random key, and
when a worker was last seen. The keys that hash people come with their first use (`store/privacy/keyring`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    event,
)
from sqlalchemy.schema import SchemaItem

from ..rules.states import LEASED, OPEN, STATUSES
from .dialects.statements import Instant, exact, index_of_the_set, inserting_once, key, words

Parts: TypeAlias = tuple[SchemaItem, ...]

#: Raised whenever a table changes. Tables of an older version are refused: there is no migration yet.
SCHEMA_VERSION = 4

#: The name of the key that hashes identities, wrapped.
IDENTITY_KEY = "identity_key"
#: The name of the key that hashes the people of deliveries, wrapped.
PERSON_KEY = "person_key"
#: The name of the row that says that there is a row of somebody who was forgotten.
SEALED = "sealed"
#: The name of the row that says when somebody was forgotten, or withdrew, last.
FORGOTTEN = "forgotten_at"


def define_meta(metadata: MetaData, schema: str | None = None) -> Table:
    """Define the table on `metadata`."""
    table = Table(
        "s2s_meta",
        metadata,
        Column("name", String(32), primary_key=True),
        Column("value", String(255), nullable=False),
        schema=schema,
    )

    @event.listens_for(table, "after_create")
    def _fill(table: Table, connection: Connection, **_: Any) -> None:
        fill_meta(table, connection)

    return table


def fill_meta(meta: Table, connection: Connection) -> None:
    """Write the rows that are not there: a migration makes the table only.

    Not told by reading them: another process may write them in the same moment.
    """
    rows = {"schema_version": str(SCHEMA_VERSION), "installation": secrets.token_hex(16)}
    rows["worker_seen"] = ""
    given = [{"name": name, "value": value} for name, value in rows.items()]
    connection.execute(inserting_once(connection, meta), given)


def is_filled(names: Iterable[str]) -> bool:
    """Say whether all rows are there."""
    return set(names) >= {"installation", "schema_version", "worker_seen"}


#: The longest key of a network's record that is remembered.
READ_TO = 255

REPORT_INDEX = "ix_s2s_delivery_report"
#: All that a report of a period reads of each delivery, in the order of a list: it never visits the
#: rows themselves.
_REPORTED = (
    *("created_at", "id", "kind", "status", "reason", "partner_key", "currency", "amount"),
    "customer_key",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The tables on one MetaData."""

    meta: Table
    click: Table
    click_token: Table
    binding: Table
    delivery: Table
    attempt: Table
    breaker: Table
    block: Table
    audit: Table
    worker: Table
    loss: Table


def define_tables(metadata: MetaData, schema: str | None = None) -> Tables:
    """Define the tables on `metadata` (for Alembic, or `db.create_all()`); call it again freely.

    `schema` is what `S2S_SCHEMA` says; without it the tables are in that of `metadata`.
    """
    place = schema or metadata.schema
    prefix = "" if place is None else f"{place}."
    if f"{prefix}s2s_delivery" in metadata.tables:
        return Tables(**{n: metadata.tables[f"{prefix}s2s_{n}"] for n in Tables.__slots__})

    def table(name: str, parts: Parts) -> Table:
        return Table(f"s2s_{name}", metadata, *parts, schema=place)

    delivery = table("delivery", _delivery())
    return Tables(
        meta=define_meta(metadata, place),
        click=table("click", _click()),
        click_token=table("click_token", _click_token()),
        binding=table("binding", _binding()),
        delivery=delivery,
        attempt=table("attempt", _attempt(delivery)),
        breaker=table("breaker", _breaker()),
        block=table("block", _block()),
        audit=table("audit", _audit()),
        worker=table("worker", _worker()),
        loss=table("loss", _loss()),
    )


def _quoted(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _network() -> Column[str]:
    return Column("network", String(32), nullable=False)


def _at() -> Column[datetime]:
    return Column("at", Instant, nullable=False)


def _click() -> Parts:
    return (
        key(),
        _network(),
        Column("click_id", exact(512), nullable=False),
        Column("partner_key", exact(128)),
        Column("sub_ids", JSON, nullable=False),
        Column("link_host", String(255)),
        # The page, its utm_* and the host before, with S2S_KEEP_LANDING.
        Column("landing", JSON(none_as_null=True)),
        _at(),
        UniqueConstraint("click_id", "network", name="uq_s2s_click"),
        Index("ix_s2s_click_at", "at", "partner_key"),
    )


def _click_token() -> Parts:
    """A click token that has been used, and the hash of the one customer who used it."""
    return (
        Column("token", String(64), primary_key=True),
        Column("customer", String(64), nullable=False),
        _at(),
        Index("ix_s2s_click_token_at", "at"),
    )


def _binding() -> Parts:
    """A click that an identity (a keyed hash of an e-mail address or a user's ID) was bound to.

    All of them stay: which one counts is decided when somebody is credited.
    """
    return (
        key(),
        Column("identity", String(64), nullable=False),
        _network(),
        Column("click_id", exact(512), nullable=False),
        # Empty where the link names none.
        Column("partner", exact(128), nullable=False),
        Column("click", JSON, nullable=False),
        Column("touches", JSON(none_as_null=True)),
        _at(),
        # 1: whoever it was had proved to be that identity.
        Column("proved", Integer, nullable=False),
        # Of the binding, not of the click: days since 1970.
        Column("day", Integer, nullable=False),
        UniqueConstraint("identity", "network", "click_id", name="uq_s2s_binding"),
        Index("ix_s2s_binding_click", "click_id"),
        Index("ix_s2s_binding_day", "day", "partner"),
        Index("ix_s2s_binding_at", "at"),
    )


def _delivery() -> Parts:
    return (
        key(),
        _network(),
        Column("lane", String(48), nullable=False),
        Column("kind", String(16), nullable=False),
        Column("dedupe", String(64), nullable=False),
        Column("customer_key", exact(255)),
        # The customer's key at the network, where the site's has changed since.
        Column("known_as", exact(255)),
        Column("conversion", JSON(none_as_null=True)),
        Column("click_id", exact(512)),
        Column("click", JSON(none_as_null=True)),
        Column("touches", JSON(none_as_null=True)),
        # What reports group and search by: a copy of what the JSON has, or of its dependency's row.
        Column("partner_key", exact(128)),
        Column("sub_id", exact(255)),
        Column("click_at", Instant),
        Column("amount", BigInteger),
        Column("currency", String(3)),
        Column("key", exact(255)),
        Column("what", exact(255)),
        Column("status", String(16), nullable=False),
        Column("reason", String(64), nullable=False),
        Column("detail", exact(255)),
        Column("attempts", Integer, nullable=False),
        Column("created_at", Instant, nullable=False),
        Column("due_at", Instant),
        Column("deadline_at", Instant, nullable=False),
        Column("settled_at", Instant),
        Column("ambiguous_at", Instant),
        Column("lease_token", String(32)),
        Column("parent", String(64)),
        Column("verify_at", Instant),
        Column("checks", Integer, nullable=False, server_default="0"),
        Column("resent", Integer, nullable=False, server_default="0"),
        Column("read_to", exact(READ_TO)),
        # Of a sign-up's e-mail address: by it the person is found who asks to be forgotten.
        Column("person", String(64)),
        # When somebody said that they know of its failure.
        Column("acked_at", Instant),
        UniqueConstraint("dedupe", "network", name="uq_s2s_delivery"),
        CheckConstraint(f"status IN ({_quoted(STATUSES)})", name="ck_s2s_delivery_status"),
        CheckConstraint(
            f"(due_at IS NOT NULL) = (status IN ({_quoted(OPEN)}))", name="ck_s2s_delivery_due"
        ),
        CheckConstraint(
            f"(lease_token IS NOT NULL) = (status IN ({_quoted(LEASED)}))",
            name="ck_s2s_delivery_lease",
        ),
        CheckConstraint(
            f"(settled_at IS NULL) = (status IN ({_quoted(OPEN)}))", name="ck_s2s_delivery_settled"
        ),
        Index("ix_s2s_delivery_due", "due_at"),
        # Not partial: SQLite would then take it for the smaller one, and sort what all lanes have due.
        Index("ix_s2s_delivery_lane", "lane", "due_at"),
        Index("ix_s2s_delivery_verify", "verify_at"),
        index_of_the_set("ix_s2s_delivery_parent", "parent"),
        # In the order of a list; with when it was settled: what failed lately is told without the rows.
        Index("ix_s2s_delivery_status", "status", "created_at", "id", "settled_at"),
        Index("ix_s2s_delivery_customer", "customer_key"),
        Index(REPORT_INDEX, *_REPORTED),
        Index("ix_s2s_delivery_kind", "kind", "created_at"),
        Index("ix_s2s_delivery_reason", "reason", "created_at"),
        index_of_the_set("ix_s2s_delivery_detail", "detail", "created_at"),
        index_of_the_set("ix_s2s_delivery_partner", "partner_key", "created_at"),
        # With the time: a period's clicks that brought several customers are found in it alone.
        index_of_the_set("ix_s2s_delivery_click", "click_id", "created_at"),
        index_of_the_set("ix_s2s_delivery_person", "person"),
    )


def _attempt(delivery: Table) -> Parts:
    return (
        key(),
        Column("delivery_id", ForeignKey(delivery.c.id, ondelete="CASCADE"), nullable=False),
        Column("number", Integer, nullable=False),
        # Its delivery's.
        Column("lane", String(48), nullable=False),
        Column("lease_token", String(32), nullable=False),
        Column("opened_at", Instant, nullable=False),
        Column("closed_at", Instant),
        Column("outcome", String(16)),
        Column("http_status", Integer),
        Column("duration_ms", Integer),
        Column("request", JSON(none_as_null=True)),
        Column("answer", words()),
        UniqueConstraint("delivery_id", "number", name="uq_s2s_attempt"),
        CheckConstraint("(closed_at IS NULL) = (outcome IS NULL)", name="ck_s2s_attempt_closed"),
        # Not of the open ones: PostgreSQL would look for those by it, whosever they are.
        index_of_the_set("ix_s2s_attempt_closed", "closed_at"),
        # The last success of each lane is one look.
        Index("ix_s2s_attempt_lane", "lane", "outcome", "closed_at"),
    )


def _breaker() -> Parts:
    """A lane (one network's one credential) that is closed until a probe gets through."""
    return (
        Column("lane", String(48), primary_key=True),
        Column("reason", exact(64), nullable=False),
        Column("since", Instant, nullable=False),
        Column("probe_at", Instant, nullable=False),
    )


def _block() -> Parts:
    """A partner or a click that nobody is credited to."""
    return (
        key(),
        _network(),
        Column("kind", String(8), nullable=False),
        Column("name", exact(512), nullable=False),
        _at(),
        UniqueConstraint("network", "kind", "name", name="uq_s2s_block"),
    )


def _audit() -> Parts:
    """An operator's act. It names no customer: `subject` is a keyed hash, or empty."""
    return (
        key(),
        _at(),
        Column("act", String(16), nullable=False),
        Column("subject", String(64), nullable=False),
        Column("who", exact(128), nullable=False),
        Column("why", exact(255)),
        Column("detail", JSON, nullable=False),
        UniqueConstraint("at", "act", "subject", name="uq_s2s_audit"),
        Index("ix_s2s_audit_subject", "subject"),
    )


def _worker() -> Parts:
    """A process that delivers, and when it was seen last."""
    return (
        Column("name", exact(160), primary_key=True),
        Column("host", exact(128), nullable=False),
        Column("version", String(64), nullable=False),
        Column("in_flight", Integer, nullable=False),
        Column("rests", JSON, nullable=False),
        Column("seen_at", Instant, nullable=False),
    )


def _loss() -> Parts:
    """A number of clicks without a row, or of conversions that were lost, of one day and reason."""
    return (
        # Days since 1970.
        Column("day", Integer, primary_key=True, autoincrement=False),
        # `click`, or a conversion's kind.
        Column("kind", String(16), primary_key=True),
        Column("reason", String(32), primary_key=True),
        Column("number", Integer, nullable=False),
    )
