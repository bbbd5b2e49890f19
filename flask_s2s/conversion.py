"""What a visitor did: the conversions, their checks, and what makes two of them the same.

`identity` is what the UNIQUE constraint of the outbox is built from: two conversions with the same
identity are one delivery, so a refreshed page or a repeated webhook cannot be credited twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import wraps
from typing import Any, ClassVar

from .errors import InvalidConversion
from .keys import MAX_KEY, checked_text, customer_key_of, own_key, type_name
from .money import currency_code, minor_units

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: The end of 1973 in milliseconds: a time before it was meant in seconds.
_SECONDS = 10**11


def _telling(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """Let what a check raises say which kind of conversion it is about, and whose."""

    @wraps(check)
    def telling(self: Any) -> None:
        try:
            check(self)
        except InvalidConversion as error:
            error.kind = self.kind
            if error.field != "customer_key":
                error.customer_key = self.customer_key
            raise

    return telling


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

    @_telling
    def __post_init__(self) -> None:
        object.__setattr__(self, "customer_key", customer_key_of(self.customer_key))
        for name, limit in _SIGNUP_TEXTS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked_text(name, value, limit) or None)
        if not isinstance(self.meta, Mapping):
            raise InvalidConversion("meta", f"must be a mapping, not {type_name(self.meta)}")
        if self.meta:
            object.__setattr__(self, "meta", _plain(self.meta))

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes this sign-up this sign-up: the customer."""
        return (self.kind, self.customer_key)

    @property
    def subject(self) -> tuple[str | None, ...]:
        """Nothing that could differ where the identity is the same."""
        return ()

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

    @_telling
    def __post_init__(self) -> None:
        object.__setattr__(self, "customer_key", customer_key_of(self.customer_key))
        if not checked_text("type", self.type, MAX_KEY):
            raise InvalidConversion("type", "is empty")
        _check_count(self.value)
        if self.key is not None:
            object.__setattr__(self, "key", own_key("key", self.key))

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes it this action: its key, or else its customer and type."""
        if self.key is not None:
            return (self.kind, self.key)
        return (self.kind, self.customer_key, self.type)

    @property
    def subject(self) -> tuple[str | None, ...]:
        """What two actions have in common that are the same one."""
        return (self.customer_key, self.type)

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

    @_telling
    def __post_init__(self) -> None:
        object.__setattr__(self, "customer_key", customer_key_of(self.customer_key))
        object.__setattr__(self, "currency", currency_code(self.currency))
        object.__setattr__(self, "amount", minor_units(self.amount, self.currency))
        object.__setattr__(self, "key", own_key("key", self.key, shortest=4))
        if self.refunds is not None:
            object.__setattr__(self, "refunds", own_key("refunds", self.refunds, shortest=4))
            if self.amount >= 0:
                raise InvalidConversion("amount", "of a refund must be more than zero")
            if self.key == self.refunds:
                raise InvalidConversion("key", "is the payment's: a refund has a key of its own")
        for name in ("product_key", "category_key"):
            if getattr(self, name) is not None:
                checked_text(name, getattr(self, name), MAX_KEY)
        object.__setattr__(self, "metadata", _metadata(self.metadata))
        object.__setattr__(self, "created_at", _milliseconds(self.created_at))

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes it this transaction: its key."""
        return (self.kind, self.key)

    @property
    def subject(self) -> tuple[str | None, ...]:
        """What two transactions have in common that are the same one; an amount is put right."""
        return (self.customer_key, self.refunds)

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

    @_telling
    def __post_init__(self) -> None:
        object.__setattr__(self, "customer_key", customer_key_of(self.customer_key))
        key = own_key("transaction_key", self.transaction_key, shortest=4)
        object.__setattr__(self, "transaction_key", key)

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes it this reversal: the transaction's key."""
        return (self.kind, self.transaction_key)

    @property
    def subject(self) -> tuple[str | None, ...]:
        """What two reversals have in common that are the same one."""
        return (self.customer_key,)

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
        checked_text("meta's name", name, MAX_KEY)
    try:
        json.dumps(plain, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidConversion("meta", "cannot be written as JSON") from None
    return plain


def _metadata(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, Mapping) or len(metadata) > 25:
        raise InvalidConversion("metadata", "must be a mapping of at most 25 attributes")
    for name, value in metadata.items():
        checked_text("metadata's name", name, 30)
        checked_text("metadata's value", value, 100)
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
