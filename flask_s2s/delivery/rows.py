"""Between a row of `s2s_delivery` and a `Delivery`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping

from ..click import Click, dump_click, load_click
from ..conversion import Conversion, dump_conversion, load_conversion
from ..errors import InvalidConversion
from ..networks.exchange import Exchanged
from .settlement import Delivery, Settlement, Status

Settled = tuple[Delivery, Settlement, Exchanged]

#: What `settling` gives anew, but for the token, which it takes away.
MOVED = (
    "status",
    "detail",
    "due_at",
    "ambiguous_at",
    "settled_at",
    "verify_at",
    "checks",
    "read_to",
)
#: What `closing` gives.
CLOSED = ("closed_at", "outcome", "http_status", "duration_ms", "request", "answer")


@contextmanager
def whole(engine: Engine) -> Iterator[Connection]:
    """Yield a connection on which each statement is a transaction by itself.

    For one that is asked all the time: a server is spared the beginning and the end.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="AUTOCOMMIT")
        yield connection


def dedupe_hash(installation: str, identity: tuple[str, ...]) -> str:
    """Hash what makes a conversion itself, keyed: it outlives the customer key in a pruned row."""
    message = "\x1f".join(identity).encode()
    mac = _keyed(installation).copy()
    mac.update(message)
    return mac.hexdigest()


@lru_cache(maxsize=8)
def _keyed(installation: str) -> hmac.HMAC:
    return hmac.new(installation.encode(), digestmod=hashlib.sha256)


def row_of(draft: Delivery, dedupe: str) -> dict[str, Any]:
    """Return the parameters that insert `draft`."""
    return {
        "network": draft.network,
        "lane": draft.lane,
        "kind": draft.kind,
        "dedupe": dedupe,
        "customer_key": draft.customer_key,
        "conversion": None if draft.conversion is None else dump_conversion(draft.conversion),
        "click_id": None if draft.click is None else draft.click.click_id,
        "click": None if draft.click is None else dump_click(draft.click),
        "touches": [dump_click(click) for click in draft.touches] or None,
        "status": draft.status.value,
        "reason": draft.reason,
        "detail": draft.detail,
        "attempts": draft.attempts,
        "created_at": draft.created_at,
        "due_at": draft.due_at,
        "deadline_at": draft.deadline_at,
        "settled_at": draft.settled_at,
        "lease_token": draft.lease_token,
        "parent": draft.parent,
    }


def settling(
    delivery: Delivery, settlement: Settlement, _: Exchanged, now: datetime
) -> dict[str, Any]:
    """Return the parameters that settle the row; `its_` are those that find it."""
    return {
        "its_id": delivery.id,
        "its_token": delivery.lease_token,
        "status": settlement.status.value,
        "detail": settlement.detail[:255],
        "due_at": settlement.due_at,
        "ambiguous_at": settlement.ambiguous_at,
        "settled_at": now if settlement.settled else None,
        "verify_at": settlement.verify_at,
        "checks": 0,
        "read_to": settlement.read_to,
        "lease_token": None,
    }


def closing(
    delivery: Delivery, _: Settlement, exchanged: Exchanged, now: datetime
) -> dict[str, Any]:
    """Return the parameters that close the attempt; `its_` are those that find it."""
    return {
        "its_id": delivery.id,
        "its_number": delivery.attempts,
        "closed_at": now,
        "outcome": exchanged.outcome.word,
        "http_status": exchanged.http_status,
        "duration_ms": exchanged.duration_ms,
        "request": exchanged.request,
        "answer": exchanged.answer,
    }


def delivery_of(row: RowMapping) -> Delivery:
    """Return the delivery of a whole row."""
    conversion, click = _sendable(row)
    return Delivery(
        id=row["id"],
        network=row["network"],
        lane=row["lane"],
        kind=row["kind"],
        status=Status(row["status"]),
        reason=row["reason"],
        customer_key=row["customer_key"],
        conversion=conversion,
        click=click,
        attempts=row["attempts"],
        created_at=row["created_at"],
        due_at=row["due_at"],
        deadline_at=row["deadline_at"],
        settled_at=row["settled_at"],
        ambiguous_at=row["ambiguous_at"],
        detail=row["detail"],
        lease_token=row["lease_token"],
        dedupe=row["dedupe"],
        parent=row["parent"],
        verify_at=row["verify_at"],
        checks=row["checks"],
        resent=row["resent"],
        read_to=row["read_to"],
    )


def _sendable(row: RowMapping) -> tuple[Conversion | None, Click | None]:
    """Return what the row sends; nothing where another version wrote what this one cannot read.

    An error here would stop the whole batch that the row was claimed with, again and again.
    """
    try:
        conversion, click = row["conversion"], row["click"]
        return (
            None if conversion is None else load_conversion(row["kind"], conversion),
            None if click is None else load_click(click),
        )
    except (InvalidConversion, LookupError, TypeError, ValueError, OverflowError):
        return None, None
