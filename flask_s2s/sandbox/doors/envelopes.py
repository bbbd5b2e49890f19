"""How the vendor API wraps what it says."""

import json
from typing import Any

from flask import Response

from flask_s2s.sandbox.books.customers import CUSTOMER_FIELDS, Customer
from flask_s2s.sandbox.books.partners import PARTNERS
from flask_s2s.sandbox.books.rewards import Reward

_PARTNER_KEYS = frozenset(partner.key for partner in PARTNERS.values())


def success(data: Any, message: str) -> Response:
    """Return `data` in the envelope of a success."""
    return _response(200, {"data": data, "message": message, "status": 200})


def listing(items: list[dict[str, Any]], has_more: bool) -> Response:
    """Return one page of a list."""
    return success({"items": items, "has_more": has_more}, "Success")


def error(status: int, message: str) -> Response:
    """Return the envelope of a failure."""
    return _response(status, {"message": message, "status": status})


def is_partner_key(key: str) -> bool:
    """Return whether a partner of the programme has this key."""
    return key in _PARTNER_KEYS


def customer(record: Customer) -> dict[str, Any]:
    """Return a customer as the network shows it: `key` is its own, `customer_key` is yours.

    `meta` reads back empty whatever was sent; the values are in `fields` and `mdata`.
    """
    return {
        "key": record.key,
        "customer_key": record.external_key,
        "customer_external_key": record.external_key,
        "name": record.details.get("name"),
        "email": record.email,
        "provider_key": record.details.get("provider_key"),
        "external_type": record.details.get("external_type"),
        "partner_key": PARTNERS[record.partner].key,
        "partnership_key": f"part_{PARTNERS[record.partner].key}",
        "sub_ids": list(dict.fromkeys([*record.sub_ids, *record.posted_sub_ids])),
        "test": record.test,
        "archived": record.deleted_at is not None,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "meta": {},
        "mdata": record.fields,
        "fields": [
            {"api_name": name, "name": CUSTOMER_FIELDS[name], "value": value}
            for name, value in record.fields.items()
        ],
    }


def reward(record: Reward, target: Customer | None) -> dict[str, Any]:
    """Return an action or a transaction as the network shows it."""
    shown = {
        **record.body,
        "key": record.key,
        "external_key": record.external_key,
        "test": record.test,
        "archived": record.archived_at is not None,
        "created_at": record.created_at,
    }
    if record.kind == "transaction" and target is not None:
        # A transaction goes by the caller's key where one was given.
        shown["key"] = record.external_key or record.key
        shown["customer"] = {"key": target.key, "customer_key": target.external_key}
    return shown


def _response(status: int, body: dict[str, Any]) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")
