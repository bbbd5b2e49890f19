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
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any
from urllib.parse import quote

from ...click import Click
from ...config.parsing import SANDBOX_TOKEN, refuse_open, secret_text, text, token_source, url
from ...config.setting import Setting
from ...conversion import Action, Conversion, Reversal, Signup, Transaction
from ...errors import ConfigError
from ..messages import (
    Ambiguous,
    Duplicate,
    NotThere,
    Outcome,
    Refused,
    Request,
    Response,
    RetryLater,
    Secret,
    Unauthorised,
)
from ..network import Lane, Network, Report, Traits
from ..reading import Readable
from ..success import read_success
from .clicks import NAME, PartnerStackClicks

TRACKING = f"{NAME}/tracking"
API = f"{NAME}/api"

_SCHEMA_PHRASES = ("is a required property", "is not of type", "does not match", "is too long")
_LONGEST_DATE = 100
#: What is asked for beyond it would be past the end of time.
_LONGEST_REST = timedelta(days=1000)
_SIGNUP_OPTIONAL = (
    "email",
    "name",
    "provider_key",
    "origin",
    "ip_address",
    "user_agent",
    "external_type",
)


PUBLIC_KEY, SECRET_KEY = "S2S_PARTNERSTACK_PUBLIC_KEY", "S2S_PARTNERSTACK_SECRET_KEY"
URL, API_URL = "S2S_PARTNERSTACK_URL", "S2S_PARTNERSTACK_API_URL"


#: Sign-ups: a repeated `customer_key` creates nothing (D, F). Deleting twice, neither. What a
#: repeated key of an action or a transaction does is not known.
TRAITS: Mapping[str, Traits] = {
    Signup.kind: Traits(
        lane=TRACKING, needs_click=True, repeat_is_harmless=True, verified_by="customer"
    ),
    Action.kind: Traits(
        lane=API,
        needs_click=False,
        repeat_is_harmless=False,
        depends_on=frozenset({Signup.kind}),
        verified_by="list",
    ),
    Transaction.kind: Traits(
        lane=API,
        needs_click=False,
        repeat_is_harmless=False,
        depends_on=frozenset({Signup.kind, Transaction.kind}),
        verified_by="list",
    ),
    # What undoes a payment leaves no record.
    Reversal.kind: Traits(
        lane=API,
        needs_click=False,
        repeat_is_harmless=True,
        depends_on=frozenset({Transaction.kind}),
    ),
}


class PartnerStack(Network):
    """The PartnerStack protocol."""

    name = NAME
    settings = (
        Setting(
            key="S2S_TOKEN",
            parse=token_source,
            help="Tracking token: text, a list (on 401 the next is tried), or a callable. None:"
            " deliveries are held until there is one.",
        ),
        Setting(
            key="S2S_TOKEN_FILE",
            parse=text,
            help="A file with one token a line, read again when it changes.",
        ),
        Setting(
            key=PUBLIC_KEY,
            parse=secret_text,
            help="The vendor API's key pair: for actions, transactions and reading back.",
        ),
        Setting(key=SECRET_KEY, parse=secret_text, help="The other half of it."),
        Setting(
            key=URL,
            parse=url,
            default="https://partnerlinks.io",
            help="Where conversions are posted.",
        ),
        Setting(
            key=API_URL,
            parse=url,
            default="https://api.partnerstack.com/api/v2",
            help="The vendor API.",
        ),
    )
    clicks = PartnerStackClicks()
    reading_lane = API
    traits = TRAITS

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._url: str = settings[URL]
        self._api_url: str = settings[API_URL]
        keys = (settings[PUBLIC_KEY], settings[SECRET_KEY])
        file = settings["S2S_TOKEN_FILE"]
        self.lanes = {
            TRACKING: Lane(
                name=TRACKING,
                base_url=self._url,
                address=URL,
                source=settings["S2S_TOKEN"],
                key="S2S_TOKEN",
                file=file,
                file_key="S2S_TOKEN_FILE",
                credential="token",
                settings="S2S_TOKEN or S2S_TOKEN_FILE" if file is None else "S2S_TOKEN_FILE",
            ),
            API: Lane(
                name=API,
                base_url=self._api_url,
                address=API_URL,
                source=f"{keys[0]}:{keys[1]}" if all(keys) else None,
                key=SECRET_KEY,
                credential="API keys",
                settings=f"{PUBLIC_KEY} and {SECRET_KEY}",
            ),
        }

    @classmethod
    def check(cls, values: Mapping[str, Any], *, testing: bool) -> None:
        token = values["S2S_TOKEN"]
        if token is not None and values["S2S_TOKEN_FILE"] is not None:
            raise ConfigError("S2S_TOKEN", "and S2S_TOKEN_FILE are both set", "Keep one of them.")
        if (values[PUBLIC_KEY] is None) != (values[SECRET_KEY] is None):
            raise ConfigError(
                PUBLIC_KEY if values[PUBLIC_KEY] is None else SECRET_KEY,
                "is missing: the API's keys are a pair",
                "Set both, or neither (then nothing is verified).",
            )
        if not testing and token not in (SANDBOX_TOKEN, (SANDBOX_TOKEN,)):
            for key in (URL, API_URL):
                refuse_open(key, values[key])

    @property
    def records(self) -> Readable:
        # A process that reads loads it while it is built: a thread must not import.
        home = import_module(".records", __package__)
        found: Readable = home.Records(self)
        return found

    def request(self, report: Report, secret: Secret) -> Request:
        match report.conversion:
            case Signup() as signup:
                if report.click is None:
                    raise ValueError("a sign-up is credited through a click")
                return self._conversion(signup, report.click, secret)
            case Action() as action:
                return self.api("POST", "/actions", secret, _action(action))
            case Transaction() as transaction:
                return self.api("POST", "/transactions", secret, _transaction(transaction))
            case Reversal(transaction_key=key):
                return self.api("DELETE", f"/transactions/{quote(key, safe='')}", secret, None)

    def outcome(self, report: Report, response: Response) -> Outcome:
        kind = report.conversion.kind
        status = response.status
        if 200 <= status < 300:
            return read_success(response)
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
        if status < 400:
            # 303 is what servers say who took it; of others nobody knows.
            return Ambiguous(detail=f"{detail}: taken or not", alarm=True)
        return RetryLater(detail=detail, after=retry_after(response), alarm=True)

    def _conversion(self, signup: Signup, click: Click, token: Secret) -> Request:
        body: dict[str, Any] = {"xid": click.click_id, "customer_key": signup.customer_key}
        body.update(_set_fields(signup, _SIGNUP_OPTIONAL))
        if signup.meta:
            body["meta"] = dict(signup.meta)
        if click.sub_ids:
            body["sub_ids"] = list(click.sub_ids)
        headers = {"Authorization": f"Bearer {token.value}"}
        return Request(method="POST", url=f"{self._url}/conversion/xid", headers=headers, body=body)

    def api(self, method: str, path: str, pair: Secret, body: dict[str, Any] | None) -> Request:
        """Build a request to the vendor API; `pair` is its credential."""
        encoded = base64.b64encode(pair.value.encode()).decode("ascii")
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


def _schema_message(response: Response) -> str | None:
    answer = object_of(response) or {}
    message = answer.get("message")
    if isinstance(message, str) and any(phrase in message for phrase in _SCHEMA_PHRASES):
        return message
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
        return min(timedelta(seconds=int(value[:9])), _LONGEST_REST)
    until, sent = _http_date(value), _http_date(response.headers.get("date", ""))
    if until is None or sent is None:
        return None
    return min(max(until - sent, timedelta(0)), _LONGEST_REST)


def _http_date(value: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(value[:_LONGEST_DATE]) if value else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    # "-0000" is a time of UTC whose zone nobody wants to name.
    return moment and (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc))
