"""Conversions: the acts of a visitor, their checks, and the identity that makes two of them one. Pure.

`identity` is what the UNIQUE constraint of the outbox is built from: two conversions with the same
identity are one delivery, so a refreshed page or a repeated webhook cannot be credited twice.

Only the fields that a network requires can make one unacceptable; every other is cleaned where it must
be, or left out (`fields`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

from ..errors import InvalidConversion
from .fields import MAX_KEY, Cleaning, checked_text, customer_key_of, own_key
from .money import currency_code, minor_units, paid_back

#: A customer's or a thing's key, as calls take it: `42` and `"42"` are one.
Key: TypeAlias = str | int | UUID


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
    """A visitor became a customer."""

    kind: ClassVar[str] = "signup"

    #: Your ID of the customer, unique; the only thing the network can de-duplicate on.
    customer_key: str
    #: Sent as passed, unless `S2S_SEND_PII` says otherwise.
    email: str | None = field(default=None, repr=False)
    #: Titles the network's record.
    name: str | None = field(default=None, repr=False)
    #: The payment provider's ID of the customer, when that record exists first.
    provider_key: str | None = None
    #: The host where the sign-up happened.
    origin: str | None = None
    #: The customer's own, never the server's; sent only with `S2S_SEND_CLIENT`.
    ip_address: str | None = field(default=None, repr=False)
    user_agent: str | None = field(default=None, repr=False)
    external_type: str | None = None
    #: Extra customer fields; keys are the network's own names of them.
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: What was cut, cleaned or left out of what was passed; filled in here, and not sent.
    cleaned: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @_telling
    def __post_init__(self) -> None:
        object.__setattr__(self, "customer_key", customer_key_of(self.customer_key))
        cleaning = Cleaning(self.cleaned)
        for name, limit, clean in _SIGNUP_TEXTS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, clean(cleaning, name, value, limit))
        if self.meta != {}:
            object.__setattr__(self, "meta", cleaning.meta(self.meta))
        object.__setattr__(self, "cleaned", tuple(cleaning.notes))

    @property
    def identity(self) -> tuple[str, ...]:
        """A sign-up is its customer: each has one."""
        return (self.kind, self.customer_key)

    @property
    def subject(self) -> tuple[str | None, ...]:
        """Nothing that could differ where the identity is the same."""
        return ()

    @property
    def parent(self) -> tuple[str, ...] | None:
        """Nothing must be there before a sign-up."""
        return None


#: Each with its longest, and what is done to fit it.
_SIGNUP_TEXTS = (
    ("email", 320, Cleaning.exact),
    ("name", 512, Cleaning.prose),
    ("provider_key", MAX_KEY, Cleaning.exact),
    ("origin", MAX_KEY, Cleaning.exact),
    ("ip_address", 64, Cleaning.address),
    ("user_agent", 1024, Cleaning.prose),
    ("external_type", MAX_KEY, Cleaning.exact),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A customer reached a milestone."""

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
        """An action is its key, or else its customer and type."""
        if self.key is not None:
            return (self.kind, self.key)
        return (self.kind, self.customer_key, self.type)

    @property
    def subject(self) -> tuple[str | None, ...]:
        """The facts on which two reports of one action agree."""
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
    #: When it happened: epoch milliseconds, or an aware datetime. Else it is when it is recorded.
    created_at: int | None = None
    #: The key of the transaction that this one pays back a part of; not sent.
    refunds: str | None = None
    #: As with a sign-up.
    cleaned: tuple[str, ...] = field(default=(), repr=False, compare=False)

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
        cleaning = Cleaning(self.cleaned)
        for name in ("product_key", "category_key"):
            value = cleaning.exact(name, getattr(self, name), MAX_KEY)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "metadata", cleaning.attributes(self.metadata))
        moment = cleaning.milliseconds("created_at", self.created_at)
        object.__setattr__(self, "created_at", moment)
        object.__setattr__(self, "cleaned", tuple(cleaning.notes))

    @property
    def identity(self) -> tuple[str, ...]:
        """A transaction is its key."""
        return (self.kind, self.key)

    @property
    def subject(self) -> tuple[str | None, ...]:
        """The facts on which two reports of one transaction agree; an amount may be corrected."""
        return (self.customer_key, None if self.refunds is None else _first(self.refunds))

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
    #: When it happened, as with a transaction; not sent.
    created_at: int | None = None
    #: As with a sign-up.
    cleaned: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @_telling
    def __post_init__(self) -> None:
        object.__setattr__(self, "customer_key", customer_key_of(self.customer_key))
        key = own_key("transaction_key", self.transaction_key, shortest=4)
        object.__setattr__(self, "transaction_key", key)
        cleaning = Cleaning(self.cleaned)
        moment = cleaning.milliseconds("created_at", self.created_at)
        object.__setattr__(self, "created_at", moment)
        object.__setattr__(self, "cleaned", tuple(cleaning.notes))

    @property
    def identity(self) -> tuple[str, ...]:
        """A reversal is the key of its transaction."""
        return (self.kind, self.transaction_key)

    @property
    def subject(self) -> tuple[str | None, ...]:
        """The facts on which two reports of one reversal agree."""
        return (self.customer_key,)

    @property
    def parent(self) -> tuple[str, ...]:
        """The transaction must be there first."""
        return (Transaction.kind, self.transaction_key)


def again(key: str) -> str | None:
    """Return the key under which a payment that was undone is reported again; None: it is too long."""
    counted = _AGAIN.search(key)
    number = int(counted[1]) + 1 if counted else 1
    after = f"{_first(key)}:again{number}"
    return after if len(after) <= MAX_KEY else None


def _first(key: str) -> str:
    """Return the key of a payment as the site has it."""
    return _AGAIN.sub("", key)


#: What is behind the key of a payment that was undone and came back.
_AGAIN = re.compile(r":again([1-9][0-9]{0,3})\Z")


def _check_count(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidConversion("value", "must be a whole number, at least 1")


Conversion = Signup | Action | Transaction | Reversal
_KINDS: dict[str, type[Conversion]] = {
    kind.kind: kind for kind in (Signup, Action, Transaction, Reversal)
}


_EMPTY: tuple[object, ...] = ({}, ())


def dump_conversion(conversion: Conversion) -> dict[str, Any]:
    """Return the fields that are set, as JSON can hold them."""
    values = {}
    for name in conversion.__slots__:
        value = getattr(conversion, name)
        if value is not None and value not in _EMPTY:
            values[name] = list(value) if isinstance(value, tuple) else value
    return values


def load_conversion(kind: str, values: Mapping[str, Any]) -> Conversion:
    """Rebuild what `dump_conversion` wrote."""
    return _KINDS[kind](**values)


def refund_of(
    *,
    customer_key: Any,
    transaction_key: Any,
    amount: object,
    currency: Any,
    key: Any,
    created_at: Any,
) -> Reversal | Transaction:
    """Return a refund: of the whole transaction (no amount), or of a part, which is a negative one."""
    if amount is None:
        return Reversal(
            customer_key=customer_key, transaction_key=transaction_key, created_at=created_at
        )
    return Transaction(
        customer_key=customer_key,
        amount=paid_back(amount),
        currency=currency,
        key=key,
        created_at=created_at,
        refunds=transaction_key,
    )
