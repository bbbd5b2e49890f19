"""What a visitor did: the conversions, their checks, and what makes two of them the same.

`identity` is what the UNIQUE constraint of the outbox is built from: two conversions with the same
identity are one delivery, so a refreshed page or a repeated webhook cannot be credited twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar
from uuid import UUID

from .errors import InvalidConversion
from .money import currency_code, minor_units

MAX_KEY = 255
#: What no database or no JSON takes: control characters, and halves of a surrogate pair.
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_KEY_TYPES = (str, int, UUID)
#: What `str()` makes of a missing key: never a customer.
_NOT_A_KEY = frozenset({"", "None", "null", "undefined"})
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: The end of 1973 in milliseconds: a time before it was meant in seconds.
_SECONDS = 10**11


def customer_key_of(value: object) -> str:
    """Return the customer key as text: `42` and `"42"` are one customer.

    Raises `InvalidConversion` for None, an empty key, the text `"None"` (a user that has no id yet)
    and for anything that is neither text, an integer nor a UUID.
    """
    if isinstance(value, bool) or not isinstance(value, _KEY_TYPES):
        raise InvalidConversion("customer_key", f"must be text, int or UUID, not {_kind(value)}")
    text = str(value).strip()
    if text in _NOT_A_KEY:
        raise InvalidConversion("customer_key", "is empty: the customer had no key yet")
    return _text("customer_key", text, MAX_KEY)


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _text(name: str, value: object, limit: int) -> str:
    if not isinstance(value, str):
        raise InvalidConversion(name, f"must be text, not {_kind(value)}")
    if len(value) > limit:
        raise InvalidConversion(name, f"is longer than {limit} characters")
    if _CONTROL.search(value):
        raise InvalidConversion(name, "contains a control character")
    return value


def _own_key(name: str, value: object, *, shortest: int = 1) -> str:
    """Return the caller's own key of a thing; what `str()` makes of a missing one is refused."""
    if isinstance(value, bool) or not isinstance(value, _KEY_TYPES):
        raise InvalidConversion(name, f"must be text, int or UUID, not {_kind(value)}")
    text = _text(name, str(value), MAX_KEY)
    if len(text) < shortest:
        raise InvalidConversion(name, f"must have {shortest} to {MAX_KEY} characters")
    if text in _NOT_A_KEY:
        raise InvalidConversion(name, f"is {text!r}: it had no key yet")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Signup:
    """A visitor became a customer (`POST /conversion/xid` at PartnerStack)."""

    kind: ClassVar[str] = "signup"

    #: Your ID of the customer, unique; the only thing the network can de-duplicate on.
    customer_key: str
    #: Sent as passed, unless `S2S_SEND_PII` says otherwise.
    email: str | None = field(default=None, repr=False)
    #: Titles the record at PartnerStack.
    name: str | None = field(default=None, repr=False)
    #: The payment provider's ID of the customer, when that record exists first.
    provider_key: str | None = None
    #: The host where the sign-up happened.
    origin: str | None = None
    #: The customer's own, never the server's; sent only with `S2S_SEND_CLIENT`.
    ip_address: str | None = field(default=None, repr=False)
    user_agent: str | None = field(default=None, repr=False)
    external_type: str | None = None
    #: Extra customer fields; keys must be a customer field's `api_name` at PartnerStack.
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "customer_key", customer_key_of(self.customer_key))
        for name, limit in _SIGNUP_TEXTS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _text(name, value, limit) or None)
        if not isinstance(self.meta, Mapping):
            raise InvalidConversion("meta", f"must be a mapping, not {_kind(self.meta)}")
        if self.meta:
            object.__setattr__(self, "meta", _plain(self.meta))

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes this sign-up this sign-up: the customer."""
        return (self.kind, self.customer_key)

    @property
    def parent(self) -> tuple[str, ...] | None:
        """Nothing must be there before a sign-up."""
        return None


_SIGNUP_TEXTS = (
    ("email", 320),
    ("name", 512),
    ("provider_key", MAX_KEY),
    ("origin", MAX_KEY),
    ("ip_address", 64),
    ("user_agent", 1024),
    ("external_type", MAX_KEY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A customer reached a milestone (`POST /actions` at PartnerStack)."""

    kind: ClassVar[str] = "action"

    customer_key: str
    #: The action's type, as it is set up at the network.
    type: str
    #: How many; at least 1.
    value: int = 1
    #: Your ID of this action. Without one, a customer has one action of a type.
    key: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "customer_key", customer_key_of(self.customer_key))
        if not _text("type", self.type, MAX_KEY):
            raise InvalidConversion("type", "is empty")
        _check_count(self.value)
        if self.key is not None:
            object.__setattr__(self, "key", _own_key("key", self.key))

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes it this action: its key, or else its customer and type."""
        if self.key is not None:
            return (self.kind, self.key)
        return (self.kind, self.customer_key, self.type)

    @property
    def parent(self) -> tuple[str, ...]:
        """The customer's sign-up must be there first."""
        return (Signup.kind, self.customer_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A customer paid, or, with a negative amount, was paid back (`POST /transactions`)."""

    kind: ClassVar[str] = "transaction"

    customer_key: str
    #: Whole minor units, or a `Decimal` of major units; never a float.
    amount: int
    #: Three letters.
    currency: str
    #: Your ID of this transaction, 4 to 255 characters; what it is de-duplicated on.
    key: str
    product_key: str | None = None
    category_key: str | None = None
    #: At most 25 attributes; names up to 30, values up to 100 characters.
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: When it happened: epoch milliseconds, or an aware datetime. Set when it is recorded.
    created_at: int | None = None
    #: The key of the transaction that this one pays back a part of; not sent.
    refunds: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "customer_key", customer_key_of(self.customer_key))
        object.__setattr__(self, "currency", currency_code(self.currency))
        object.__setattr__(self, "amount", minor_units(self.amount, self.currency))
        object.__setattr__(self, "key", _own_key("key", self.key, shortest=4))
        if self.refunds is not None:
            object.__setattr__(self, "refunds", _own_key("refunds", self.refunds, shortest=4))
            if self.amount >= 0:
                raise InvalidConversion("amount", "of a refund must be more than zero")
            if self.key == self.refunds:
                raise InvalidConversion("key", "is the payment's: a refund has a key of its own")
        for name in ("product_key", "category_key"):
            if getattr(self, name) is not None:
                _text(name, getattr(self, name), MAX_KEY)
        object.__setattr__(self, "metadata", _metadata(self.metadata))
        object.__setattr__(self, "created_at", _milliseconds(self.created_at))

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes it this transaction: its key."""
        return (self.kind, self.key)

    @property
    def parent(self) -> tuple[str, ...]:
        """The customer's sign-up, or the transaction that is paid back, must be there first."""
        if self.refunds is not None:
            return (self.kind, self.refunds)
        return (Signup.kind, self.customer_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversal:
    """A transaction is undone as a whole (`DELETE /transactions/{key}`)."""

    kind: ClassVar[str] = "reversal"

    customer_key: str
    #: The key of the transaction.
    transaction_key: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "customer_key", customer_key_of(self.customer_key))
        key = _own_key("transaction_key", self.transaction_key, shortest=4)
        object.__setattr__(self, "transaction_key", key)

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes it this reversal: the transaction's key."""
        return (self.kind, self.transaction_key)

    @property
    def parent(self) -> tuple[str, ...]:
        """The transaction must be there first."""
        return (Transaction.kind, self.transaction_key)


def _check_count(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidConversion("value", "must be a whole number, at least 1")


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    plain = dict(meta)
    for name in plain:
        _text("meta's name", name, MAX_KEY)
    try:
        json.dumps(plain, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidConversion("meta", "cannot be written as JSON") from None
    return plain


def _metadata(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, Mapping) or len(metadata) > 25:
        raise InvalidConversion("metadata", "must be a mapping of at most 25 attributes")
    for name, value in metadata.items():
        _text("metadata's name", name, 30)
        _text("metadata's value", value, 100)
    return dict(metadata)


def _milliseconds(moment: object) -> int | None:
    if moment is None:
        return None
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise InvalidConversion("created_at", "must be an aware datetime")
        moment = (moment - _EPOCH) // timedelta(milliseconds=1)
    if not isinstance(moment, int) or isinstance(moment, bool):
        raise InvalidConversion("created_at", "must be an aware datetime or epoch milliseconds")
    if not _SECONDS <= moment < 10**14:
        raise InvalidConversion("created_at", "must be epoch milliseconds, not seconds")
    return moment


Conversion = Signup | Action | Transaction | Reversal
_KINDS: dict[str, type[Conversion]] = {
    kind.kind: kind for kind in (Signup, Action, Transaction, Reversal)
}


def dump_conversion(conversion: Conversion) -> dict[str, Any]:
    """Return the fields that are set, as JSON can hold them."""
    values = {}
    for name in conversion.__slots__:
        value = getattr(conversion, name)
        if value is not None and value != {}:
            values[name] = value
    return values


def load_conversion(kind: str, values: Mapping[str, Any]) -> Conversion:
    """Rebuild what `dump_conversion` wrote."""
    return _KINDS[kind](**values)
