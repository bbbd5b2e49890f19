"""PartnerStack: conversion -> request, response -> outcome. No I/O.

Sources: docs.partnerstack.com (D), public client code (C) and one advertiser's field report (F).

Two hosts, two credentials. Sign-ups go to the tracking host with a Bearer token: `POST
/conversion/xid` takes a click ID and a customer key, has no amount, no time and no idempotency
field, and answers 200 with an empty body (F) or JSON; absent optional fields are omitted (C, F).
Actions and transactions go to the vendor API with a key pair (Basic), and name the customer.

Which 4xx are final is documented for one shape only: the API's own `{"message", "status"}` answer
to a body that fails its schema (D, F). Everything else that is not success is tried again until the
deadline, and raises the alarm where it is unexpected. Whether an answer of 5xx came before or after
the write is not known, so all of them are ambiguous. A 409 says "known already" of a sign-up's customer
only; what it means for an action's or a transaction's key is not known, so its record is asked for.
"""

from __future__ import annotations

import base64
import email.utils
import json
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from ..click import PARTNERSTACK, Click
from ..conversion import Action, Conversion, Reversal, Signup, Transaction
from .network import (
    Accepted,
    Ambiguous,
    Duplicate,
    NotThere,
    Outcome,
    Refused,
    Request,
    Response,
    RetryLater,
    Unauthorised,
)

TRACKING = "partnerstack/tracking"
API = "partnerstack/api"

_SCHEMA_PHRASES = ("is a required property", "is not of type", "does not match", "is too long")
_SIGNUP_OPTIONAL = (
    "email",
    "name",
    "provider_key",
    "origin",
    "ip_address",
    "user_agent",
    "external_type",
)


class PartnerStack:
    """The PartnerStack protocol against the given hosts."""

    def __init__(self, *, url: str, api_url: str) -> None:
        self._url = url
        self._api_url = api_url

    @property
    def name(self) -> str:
        return PARTNERSTACK

    def lane(self, kind: str) -> str:
        return TRACKING if kind == Signup.kind else API

    def needs_click(self, kind: str) -> bool:
        return kind == Signup.kind

    def repeat_is_harmless(self, kind: str) -> bool:
        """Sign-ups: a repeated `customer_key` creates nothing (D, F). Deleting twice, neither.

        What a repeated key of an action or a transaction does is not known.
        """
        return kind in (Signup.kind, Reversal.kind)

    def request(self, conversion: Conversion, click: Click | None, credential: str) -> Request:
        match conversion:
            case Signup():
                if click is None:
                    raise ValueError("a sign-up is credited through a click")
                return self._conversion(conversion, click, credential)
            case Action():
                return self.api("POST", "/actions", credential, _action(conversion))
            case Transaction():
                return self.api("POST", "/transactions", credential, _transaction(conversion))
            case Reversal():
                key = quote(conversion.transaction_key, safe="")
                return self.api("DELETE", f"/transactions/{key}", credential, None)

    def read(self, kind: str, response: Response) -> Outcome:
        status = response.status
        if 200 <= status < 300:
            return _read_success(response)
        if status in (401, 403):
            return Unauthorised(detail=f"the credential was answered with {status}")
        if status == 409 and kind == Signup.kind:
            return Duplicate(detail="the network has this key already")
        if status == 409 and kind != Reversal.kind:
            # What is there under this key may be another thing: only its record tells.
            return Ambiguous(detail="answered 409: the network may have it already")
        if kind == Reversal.kind and is_not_found(response):
            return NotThere(detail="the transaction is not there")
        if status == 429:
            return RetryLater(detail="asked to slow down", after=retry_after(response))
        if status >= 500 or status == 408:
            after = retry_after(response)
            return Ambiguous(detail=f"answered {status}: taken or not", after=after)
        if status in (400, 422) and (message := _schema_message(response)):
            return Refused(detail=message)
        detail = f"unexpected answer {status}"
        return RetryLater(detail=detail, after=retry_after(response), alarm=True)

    def _conversion(self, signup: Signup, click: Click, token: str) -> Request:
        body: dict[str, Any] = {"xid": click.click_id, "customer_key": signup.customer_key}
        body.update(_set_fields(signup, _SIGNUP_OPTIONAL))
        if signup.meta:
            body["meta"] = dict(signup.meta)
        if click.sub_ids:
            body["sub_ids"] = list(click.sub_ids)
        headers = {"Authorization": f"Bearer {token}"}
        return Request(method="POST", url=f"{self._url}/conversion/xid", headers=headers, body=body)

    def api(self, method: str, path: str, pair: str, body: dict[str, Any] | None) -> Request:
        """Build a request to the vendor API; `pair` is its credential."""
        encoded = base64.b64encode(pair.encode()).decode("ascii")
        headers = {"Authorization": f"Basic {encoded}"}
        return Request(method=method, url=self._api_url + path, headers=headers, body=body)


def _action(action: Action) -> dict[str, Any]:
    body = {
        "target_key": action.customer_key,
        "target_type": "customer",
        "type": action.type,
        "value": action.value,
    }
    return body if action.key is None else {**body, "key": action.key}


def _transaction(transaction: Transaction) -> dict[str, Any]:
    # `customer_key` would be PartnerStack's internal key; ours is `customer_external_key` (D).
    body: dict[str, Any] = {
        "customer_external_key": transaction.customer_key,
        "amount": transaction.amount,
        "currency": transaction.currency,
        "key": transaction.key,
    }
    body.update(_set_fields(transaction, ("product_key", "category_key", "created_at")))
    if transaction.metadata:
        body["metadata"] = dict(transaction.metadata)
    return body


def _set_fields(conversion: Conversion, names: tuple[str, ...]) -> dict[str, Any]:
    """Absent optional fields are omitted: never empty, never null (C, F)."""
    return {name: value for name in names if (value := getattr(conversion, name))}


def _read_success(response: Response) -> Outcome:
    """A success is an empty body or a JSON one; a web page with 200 comes from something else."""
    body = response.body.strip()
    if not body:
        return Accepted(detail="empty answer")
    try:
        answer = json.loads(body)
    except ValueError:
        return RetryLater(detail="success answered with something that is not JSON", alarm=True)
    status = answer.get("status") if isinstance(answer, dict) else None
    if isinstance(status, int) and not 200 <= status < 300:
        return RetryLater(detail=f"200 whose body says {status}", alarm=True)
    return Accepted(detail="JSON answer")


def _schema_message(response: Response) -> str | None:
    answer = object_of(response) or {}
    message = answer.get("message")
    if isinstance(message, str) and any(phrase in message for phrase in _SCHEMA_PHRASES):
        return message[:200]
    return None


def is_not_found(response: Response) -> bool:
    """Say whether the API itself says "not there", in its envelope: no gateway before it (D)."""
    if response.status != 404:
        return False
    answer = object_of(response) or {}
    return isinstance(answer.get("message"), str) and answer.get("status") == 404


def object_of(response: Response) -> dict[str, Any] | None:
    """Return the JSON object that an answer is; None when it is none."""
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def retry_after(response: Response) -> timedelta | None:
    """Read `Retry-After` (RFC 9110: seconds, or a date judged by the answer's own `Date`)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value[:9]), 10**8))
    until, sent = _http_date(value), _http_date(response.headers.get("date", ""))
    if until is None or sent is None:
        return None
    return max(until - sent, timedelta(0))


def _http_date(value: str) -> datetime | None:
    try:
        return email.utils.parsedate_to_datetime(value) if value else None
    except (ValueError, TypeError):
        return None
