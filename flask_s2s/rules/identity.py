"""An identity that a visitor claimed, as a keyed hash: an e-mail address or a user ID. Pure.

Neither is stored. Upper and lower case do not count, nor how the domain is written, nor what an
address brings along that was pasted or typed by another keyboard: `mailto:`, a name before `<...>`,
quotes, a comma, invisible characters, wide letters. Nothing that one provider does with its addresses (dots, `+tags`)
is assumed: another provider may not.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ..conversion.fields import customer_key_of
from ..errors import InvalidConversion

#: The longest e-mail address there is: 64 characters, an @, and 255.
_LONGEST = 320
#: How much of what was pasted is looked at.
_PASTED = 2000
#: What separates the parts of a domain, by any keyboard.
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
Kind = Literal["email", "user"]


@dataclass(frozen=True, slots=True)
class Identity:
    """One thing that somebody is known by, in the one way in which it is written here."""

    kind: Kind
    text: str

    def __repr__(self) -> str:
        return f"Identity({self.kind!r}, ...)"


def identities(email: object, user_id: object) -> tuple[Identity, ...]:
    """Return what is known, the address first; nothing for what is none."""
    address, key = email_of(email), user_of(user_id)
    named: list[Identity] = [] if address is None else [Identity("email", address)]
    return (*named, *(() if key is None else (Identity("user", key),)))


def email_of(value: object) -> str | None:
    """Return an address as it is hashed, or None where it is none."""
    if not isinstance(value, str):
        return None
    text = _bare(value[:_PASTED])
    if len(text) > _LONGEST or not text.isprintable():
        return None
    local, _, domain = text.rpartition("@")
    local, domain = _folded(local), _domain(domain)
    return f"{local}@{domain}" if local and domain else None


def user_of(value: object) -> str | None:
    """Return a user's ID as it is hashed (`42` and `"42"` are one), or None where it is none."""
    try:
        return customer_key_of(value)
    except InvalidConversion:
        return None


def keyed_hash(key: bytes, *parts: str) -> str:
    """Return what is stored of something that must not be stored: HMAC-SHA-256, in hexadecimal."""
    mac = _keyed(key).copy()
    mac.update("\x1f".join(parts).encode())
    return mac.hexdigest()


@lru_cache(maxsize=16)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod=hashlib.sha256)


def _bare(text: str) -> str:
    """Return an address without what it was pasted with."""
    if not text.isascii():
        visible = "".join(one for one in text if unicodedata.category(one) != "Cf")
        text = unicodedata.normalize("NFKC", visible)
    text = text.strip()
    while (inner := _unwrapped(text)) != text:
        text = inner
    return text


def _unwrapped(text: str) -> str:
    if text.endswith(">") and "<" in text:
        text = text[text.rindex("<") + 1 : -1]
    if text[:7].lower() == "mailto:":
        text = text[7:].partition("?")[0]
    text = text.rstrip(",;>) ")
    if text[:1] in ("'", '"') and text[0] == text[-1]:
        text = text[1:-1]
    return text.strip()


def _folded(text: str) -> str:
    """Return text without upper case, composed: folding may take a composed letter apart."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())


def _label(text: str) -> str:
    """Return a part of a domain as people read it."""
    if not text.startswith("xn--"):
        return text
    try:
        read = text[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return text
    folded = _folded(read)
    odd = read.isascii() or not folded.isprintable() or _DOTS.search(folded) or " " in folded
    # What nobody has a reason to write so is no name, and stays.
    return text if odd or folded.startswith("xn--") else folded


def _domain(name: str) -> str:
    """Return a domain as the DNS has it, by one rule for all letters: browsers differ on some."""
    folded = _folded(name)
    if not folded.isascii() or "xn--" in folded:
        folded = ".".join(map(_label, _DOTS.split(folded)))
    folded = folded.rstrip(".")
    if folded.isascii():
        return folded
    try:
        return folded.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return folded
