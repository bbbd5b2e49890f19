"""Rows of `s2s_delivery`: a draft becomes one, and a `Delivery` is made of one."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import RowMapping

from ...click import Click, dump_click, load_click
from ...conversion import Conversion, dump_conversion, load_conversion
from ...errors import InvalidConversion
from ...rules.delivery import Delivery
from ...rules.states import Status


def new_token() -> str:
    """Return a lease token that nobody else has."""
    return secrets.token_hex(16)


def row_of(draft: Delivery, dedupe: str) -> dict[str, Any]:
    """Return the parameters that insert `draft`."""
    return {
        "network": draft.network,
        "lane": draft.lane,
        "kind": draft.kind,
        "dedupe": dedupe,
        "customer_key": draft.customer_key,
        "known_as": draft.known_as,
        "conversion": None if draft.conversion is None else dump_conversion(draft.conversion),
        "click_id": None if draft.click is None else draft.click.click_id,
        "click": None if draft.click is None else dump_click(draft.click),
        "touches": [dump_click(click) for click in draft.touches] or None,
        "partner_key": draft.partner_key,
        "sub_id": draft.sub_id,
        "click_at": None if draft.click is None else draft.click.at,
        "amount": draft.amount,
        "currency": draft.currency,
        "key": draft.key,
        "what": draft.what,
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
        "person": draft.person,
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
        known_as=row["known_as"],
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
        partner_key=row["partner_key"],
        sub_id=row["sub_id"],
        amount=row["amount"],
        currency=row["currency"],
        key=row["key"],
        what=row["what"],
    )


def _sendable(row: RowMapping) -> tuple[Conversion | None, Click | None]:
    """Return what the row sends; nothing where another version wrote what this one cannot read.

    An error here would stop the whole batch that the row was claimed with, again and again.
    """
    try:
        conversion, click = row["conversion"], row["click"]
        if conversion is not None and row["known_as"] is not None:
            conversion = {**conversion, "customer_key": row["known_as"]}
        return (
            None if conversion is None else load_conversion(row["kind"], conversion),
            None if click is None else load_click(click),
        )
    except (InvalidConversion, LookupError, TypeError, ValueError, OverflowError):
        return None, None
