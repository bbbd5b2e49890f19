"""The tables, as SQLAlchemy Core on a caller's MetaData.

Decisions: times are whole microseconds since 1970 (one type that three databases compare alike, and
no time zone to lose). `due_at` is NULL exactly when a row has nothing left to do, so one plain index
on it stays as small as the work that is left, with ten settled rows or ten million. Click IDs and
customer keys are case-sensitive, which MariaDB's default collation is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect

from .meta import define_meta

#: The longest key of a network's record that is remembered.
READ_TO = 255

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)

STATUSES = (
    "armed",
    "pending",
    "waiting",
    "sending",
    "held",
    "delivered",
    "confirmed",
    "missing",
    "refused",
    "expired",
    "unattributed",
    "invalid",
    "withdrawn",
    "dry_run",
)
#: Statuses with something left to do: they have a `due_at`.
OPEN = ("armed", "pending", "waiting", "sending", "held")
#: Statuses in which somebody holds a lease: a worker, or the view that armed the row.
LEASED = ("armed", "sending")


def microseconds(value: datetime) -> int:
    """Return a time as it is stored."""
    return (value - EPOCH) // _MICROSECOND


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored as whole microseconds since 1970 (UTC)."""

    impl = BigInteger
    cache_ok = True
    # Alembic writes a type into a migration by its module and its repr, and imports nothing for it:
    # it is to read sa.BigInteger(), which needs nothing of ours.
    __module__ = "sqlalchemy.types"

    def __repr__(self) -> str:
        return "BigInteger()"

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The tables on one MetaData."""

    meta: Table
    click: Table
    handle: Table
    binding: Table
    delivery: Table
    attempt: Table
    gate: Table


def define_tables(metadata: MetaData) -> Tables:
    """Define the tables on `metadata` (for Alembic, or `db.create_all()`); call it again freely."""
    if "s2s_delivery" in metadata.tables:
        return Tables(**{n: metadata.tables[f"s2s_{n}"] for n in Tables.__slots__})
    return Tables(
        meta=define_meta(metadata),
        click=_click(metadata),
        handle=_handle(metadata),
        binding=_binding(metadata),
        delivery=_delivery(metadata),
        attempt=_attempt(metadata),
        gate=_gate(metadata),
    )


def inserting(dialect: str) -> Any:
    """Return SQLAlchemy's own `insert` of a dialect in use, with its `ON CONFLICT`.

    Not imported above: the three dialects together take longer to load than all of this package,
    and an engine has loaded its own already.
    """
    name = "mysql" if dialect == "mariadb" else dialect
    return import_module(f"sqlalchemy.dialects.{name}").insert


def _exact(length: int) -> String:
    """Text that compares byte by byte on every database."""
    # The collation brings its character set with it.
    binary = String(length, collation="utf8mb4_bin")
    return String(length).with_variant(binary, "mysql", "mariadb")


def _words() -> Text:
    """Text that somebody else wrote, whatever characters the host's database holds by itself."""
    return Text().with_variant(Text(collation="utf8mb4_bin"), "mysql", "mariadb")


def _key() -> Column[int]:
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def _quoted(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _click(metadata: MetaData) -> Table:
    return Table(
        "s2s_click",
        metadata,
        _key(),
        Column("network", String(32), nullable=False),
        Column("click_id", _exact(512), nullable=False),
        Column("partner_key", _exact(128)),
        Column("sub_ids", JSON, nullable=False),
        Column("link_host", String(255)),
        Column("at", Instant, nullable=False),
        UniqueConstraint("network", "click_id", name="uq_s2s_click"),
        Index("ix_s2s_click_at", "at"),
    )


def _handle(metadata: MetaData) -> Table:
    """A carried handle that has been used, and the hash of the one customer who used it."""
    return Table(
        "s2s_handle",
        metadata,
        Column("token", String(64), primary_key=True),
        Column("customer", String(64), nullable=False),
        Column("at", Instant, nullable=False),
        Index("ix_s2s_handle_at", "at"),
    )


def _binding(metadata: MetaData) -> Table:
    """The click that an identity (a keyed hash of an e-mail address or a user's ID) was bound to."""
    return Table(
        "s2s_binding",
        metadata,
        _key(),
        Column("identity", String(64), nullable=False),
        Column("key_id", String(16), nullable=False),
        Column("network", String(32), nullable=False),
        Column("click_id", _exact(512), nullable=False),
        Column("click", JSON, nullable=False),
        Column("touches", JSON(none_as_null=True)),
        Column("at", Instant, nullable=False),
        UniqueConstraint("identity", "network", name="uq_s2s_binding"),
        Index("ix_s2s_binding_click", "click_id"),
        Index("ix_s2s_binding_at", "at"),
    )


def _index_of_the_set(name: str, column: str) -> Index:
    """Index a column where it is set: few rows, and SQLite would count the others as alike."""
    return Index(
        name,
        column,
        sqlite_where=text(f"{column} IS NOT NULL"),
        postgresql_where=text(f"{column} IS NOT NULL"),
    )


def _delivery(metadata: MetaData) -> Table:
    return Table(
        "s2s_delivery",
        metadata,
        _key(),
        Column("network", String(32), nullable=False),
        Column("lane", String(48), nullable=False),
        Column("kind", String(16), nullable=False),
        Column("dedupe", String(64), nullable=False),
        Column("customer_key", _exact(255)),
        Column("conversion", JSON(none_as_null=True)),
        Column("click_id", _exact(512)),
        Column("click", JSON(none_as_null=True)),
        Column("touches", JSON(none_as_null=True)),
        Column("status", String(16), nullable=False),
        Column("reason", String(64), nullable=False),
        Column("detail", _exact(255)),
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
        Column("read_to", _exact(READ_TO)),
        UniqueConstraint("network", "dedupe", name="uq_s2s_delivery"),
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
        _index_of_the_set("ix_s2s_delivery_parent", "parent"),
        Index("ix_s2s_delivery_status", "status", "created_at"),
        Index("ix_s2s_delivery_customer", "customer_key"),
        Index("ix_s2s_delivery_click", "click_id"),
    )


def _attempt(metadata: MetaData) -> Table:
    return Table(
        "s2s_attempt",
        metadata,
        _key(),
        Column("delivery_id", ForeignKey("s2s_delivery.id", ondelete="CASCADE"), nullable=False),
        Column("number", Integer, nullable=False),
        Column("lease_token", String(32), nullable=False),
        Column("opened_at", Instant, nullable=False),
        Column("closed_at", Instant),
        Column("outcome", String(16)),
        Column("http_status", Integer),
        Column("duration_ms", Integer),
        Column("request", JSON(none_as_null=True)),
        Column("answer", _words()),
        UniqueConstraint("delivery_id", "number", name="uq_s2s_attempt"),
        CheckConstraint("(closed_at IS NULL) = (outcome IS NULL)", name="ck_s2s_attempt_closed"),
    )


def _gate(metadata: MetaData) -> Table:
    """A lane (one network's one credential) that is closed until a probe gets through."""
    return Table(
        "s2s_gate",
        metadata,
        Column("lane", String(48), primary_key=True),
        Column("reason", _exact(64), nullable=False),
        Column("since", Instant, nullable=False),
        Column("probe_at", Instant, nullable=False),
    )
