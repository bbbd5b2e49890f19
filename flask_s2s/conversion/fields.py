"""A conversion's fields: keys are checked, optional ones cut, cleaned or left out, and told. Pure.

A key is required, and refused where it can only be a mistake: `None` made text is no customer.

A proxy's long header, a tab in a name or a date in `meta` must not cost the partner the credit. Prose
is cut and cleaned; the name of one thing (an address, a key, a host) is whole or absent, because a
part of it would name another. No note repeats a value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from ..errors import InvalidConversion

MAX_KEY = 255
#: What no database or no JSON takes: control characters, and halves of a surrogate pair.
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_KEY_TYPES = (str, int, UUID)
#: What `str()` makes of a missing key: never a customer.
_NOT_A_KEY = frozenset({"", "None", "null", "undefined"})
_NO_KEY_YET = ": the customer had no key yet. A new row has its id once the session is flushed"


def customer_key_of(value: object) -> str:
    """Return the customer key as text: `42` and `"42"` are one customer.

    Raises `InvalidConversion` for None, an empty key, the text `"None"` (a user that has no id yet)
    and for anything that is neither text, an integer nor a UUID.
    """
    if isinstance(value, bool) or not isinstance(value, _KEY_TYPES):
        why = _NO_KEY_YET if value is None else ""
        raise InvalidConversion(
            "customer_key", f"must be text, int or UUID, not {type_name(value)}{why}"
        )
    text = str(value).strip()
    if text in _NOT_A_KEY:
        raise InvalidConversion("customer_key", f"is empty{_NO_KEY_YET}")
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
    if _NOT_TEXT.search(value):
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


_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_HALVES = re.compile(r"[\ud800-\udfff]")
_ENDS = "".join(map(chr, range(0x21))) + "\x7f"
#: What JSON can carry, and a text column cannot.
_NOT_KEPT = re.compile(r"[\x00\ud800-\udfff]")
_DEEPEST = 16
#: Characters of one entry of `meta` as JSON, and of all of them.
_LONGEST_ENTRY, _LONGEST_META = 4096, 32768
_MOST_ATTRIBUTES, _LONGEST_NAME, _LONGEST_VALUE = 25, 30, 100
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: The end of 1973 in milliseconds: a time before it was meant in seconds.
_SECONDS = 10**11


class Cleaning:
    """Cleans the fields of one conversion; `notes` says what became of which."""

    def __init__(self, earlier: object = ()) -> None:
        known = earlier if earlier and isinstance(earlier, list | tuple) else ()
        self.notes = [note for note in known if isinstance(note, str)]

    def _note(self, name: str, what: str) -> None:
        note = f"{name} {what}"
        if note not in self.notes:
            self.notes.append(note)

    def _without(self, name: str, why: str) -> None:
        self._note(name, f"left out ({why})")

    def _text(self, name: str, value: object) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, int | UUID) and not isinstance(value, bool):
            return str(value)
        self._without(name, f"it is no text but {type_name(value)}")
        return None

    def prose(self, name: str, value: object, limit: int) -> str | None:
        """Return a text for people: cleaned, and cut at its limit."""
        text = self._text(name, value)
        if text is None:
            return None
        clean = text
        if _NOT_TEXT.search(text):
            clean = _HALVES.sub("", _CONTROL.sub(" ", text)).strip()
            self._note(name, "cleaned of control characters")
        if len(clean) > limit:
            clean = clean[:limit]
            self._note(name, f"cut to {limit} characters")
        return clean or None

    def exact(self, name: str, value: object, limit: int) -> str | None:
        """Return a text that names one thing, or none."""
        text = self._text(name, value)
        if text is None:
            return None
        if _NOT_TEXT.search(text):
            text = text.strip(_ENDS)
            if _NOT_TEXT.search(text):
                self._without(name, "it has a control character")
                return None
        if len(text) > limit:
            self._without(name, f"it is longer than {limit} characters")
            return None
        return text or None

    def address(self, name: str, value: object, limit: int) -> str | None:
        """Return an IP address; of a list as proxies make it, the first, which is the visitor's."""
        if isinstance(value, str) and "," in value:
            value = value.partition(",")[0].strip()
            self._note(name, "cut to the first of its addresses")
        return self.exact(name, value, limit)

    def meta(self, value: object) -> dict[str, Any]:
        """Return extra fields, each as JSON can hold it."""
        kept: dict[str, Any] = {}
        room = _LONGEST_META
        for name, entry in self._entries("meta", value):
            if not isinstance(name, str) or self._named(name, MAX_KEY) is None:
                self._without("a field of meta", "its name cannot be sent")
                continue
            shown = f"meta.{name}"
            try:
                plain = self._plain(shown, entry, 0)
                length = len(json.dumps(plain, allow_nan=False))
            except (_Unfit, TypeError, ValueError, RecursionError) as error:
                self._without(shown, str(error) if isinstance(error, _Unfit) else "it is no JSON")
                continue
            if length > min(_LONGEST_ENTRY, room):
                self._without(shown, "it is too long")
                continue
            room -= length
            kept[name] = plain
        return kept

    def attributes(self, value: object) -> dict[str, str]:
        """Return a transaction's attributes, within the limits that the network has for them."""
        kept: dict[str, str] = {}
        for name, entry in self._entries("metadata", value):
            if not isinstance(name, str) or self._named(name, _LONGEST_NAME) is None:
                self._without("an attribute of metadata", "its name cannot be sent")
            elif len(kept) >= _MOST_ATTRIBUTES:
                self._without("some of metadata", f"there are more than {_MOST_ATTRIBUTES}")
            else:
                text = self.prose(f"metadata.{name}", _as_text(entry), _LONGEST_VALUE)
                if text is not None or entry == "":
                    kept[name] = text or ""
        return kept

    def milliseconds(self, name: str, moment: object) -> int | None:
        """Return a time in epoch milliseconds; None where it is none, or nobody can tell which."""
        if moment is None:
            return None
        if isinstance(moment, datetime) and moment.tzinfo is not None:
            moment = (moment - _EPOCH) // timedelta(milliseconds=1)
        if isinstance(moment, datetime):
            self._without(name, "it has no time zone")
        elif not isinstance(moment, int) or isinstance(moment, bool):
            self._without(name, "it is neither a datetime nor epoch milliseconds")
        elif not _SECONDS <= moment < 10**14:
            self._without(name, "it is no time in epoch milliseconds")
        else:
            return moment
        return None

    def _entries(self, name: str, value: object) -> list[tuple[Any, Any]]:
        if value is None:
            return []
        if isinstance(value, Mapping):
            return list(value.items())
        self._without(name, f"it is no mapping but {type_name(value)}")
        return []

    def _named(self, name: str, limit: int) -> str | None:
        fits = len(name) <= limit and not _CONTROL.search(name) and not _HALVES.search(name)
        return name if fits else None

    def _plain(self, name: str, value: Any, depth: int) -> Any:
        """Return a value as JSON; raises `_Unfit` for what is none."""
        if depth > _DEEPEST:
            raise _Unfit("it is too deep")
        if isinstance(value, Mapping):
            return {
                self._inner(key): self._plain(name, one, depth + 1) for key, one in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(name, one, depth + 1) for one in value]
        if isinstance(value, Enum):
            return self._plain(name, value.value, depth + 1)
        if isinstance(value, str):
            clean = _NOT_KEPT.sub("", value)
            if clean != value:
                self._note(name, "cleaned of control characters")
            return clean
        return _number_or_text(value)

    def _inner(self, key: Any) -> str:
        if isinstance(key, str) and self._named(key, MAX_KEY) is not None:
            return key
        raise _Unfit("a name in it cannot be sent")


class _Unfit(Exception):
    """A value that JSON cannot hold; the message says why."""


def _number_or_text(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise _Unfit("it is no number")
    text = _as_text(value)
    if isinstance(text, str):
        return text
    raise _Unfit(f"it is no JSON but {type_name(value)}")


def _as_text(value: Any) -> Any:
    """Return what is commonly meant as text, written; anything else stays."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID | float | int) and not isinstance(value, bool):
        return str(value)
    return value.value if isinstance(value, Enum) else value
