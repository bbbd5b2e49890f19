"""The site's own keys of customers and things, and what text may be at all."""

from __future__ import annotations

import re
from uuid import UUID

from .errors import InvalidConversion

MAX_KEY = 255
#: What no database or no JSON takes: control characters, and halves of a surrogate pair.
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_KEY_TYPES = (str, int, UUID)
#: What `str()` makes of a missing key: never a customer.
_NOT_A_KEY = frozenset({"", "None", "null", "undefined"})


def customer_key_of(value: object) -> str:
    """Return the customer key as text: `42` and `"42"` are one customer.

    Raises `InvalidConversion` for None, an empty key, the text `"None"` (a user that has no id yet)
    and for anything that is neither text, an integer nor a UUID.
    """
    if isinstance(value, bool) or not isinstance(value, _KEY_TYPES):
        raise InvalidConversion(
            "customer_key", f"must be text, int or UUID, not {type_name(value)}"
        )
    text = str(value).strip()
    if text in _NOT_A_KEY:
        raise InvalidConversion("customer_key", "is empty: the customer had no key yet")
    return checked_text("customer_key", text, MAX_KEY)


def type_name(value: object) -> str:
    """Return what a value is, for people."""
    return "None" if value is None else type(value).__name__


def checked_text(name: str, value: object, limit: int) -> str:
    """Return text that every database and network takes. Raises `InvalidConversion`."""
    if not isinstance(value, str):
        raise InvalidConversion(name, f"must be text, not {type_name(value)}")
    if len(value) > limit:
        raise InvalidConversion(name, f"is longer than {limit} characters")
    if _CONTROL.search(value):
        raise InvalidConversion(name, "contains a control character")
    return value


def own_key(name: str, value: object, *, shortest: int = 1) -> str:
    """Return the caller's own key of a thing; what `str()` makes of a missing one is refused."""
    if isinstance(value, bool) or not isinstance(value, _KEY_TYPES):
        raise InvalidConversion(name, f"must be text, int or UUID, not {type_name(value)}")
    text = checked_text(name, str(value), MAX_KEY)
    if len(text) < shortest:
        raise InvalidConversion(name, f"must have {shortest} to {MAX_KEY} characters")
    if text in _NOT_A_KEY:
        raise InvalidConversion(name, f"is {text!r}: it had no key yet")
    return text
