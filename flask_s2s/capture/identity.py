"""Who a visitor said to be, as a keyed hash: an e-mail address or a user's ID. Pure.

Neither is stored. Upper and lower case do not count, nor how the domain is written; nothing that
one provider does with its addresses (dots, `+tags`) is assumed: another provider may not.
"""

from __future__ import annotations

import hmac
import unicodedata
from dataclasses import dataclass
from typing import Literal

from ..errors import InvalidConversion
from ..keys import customer_key_of

#: The longest e-mail address there is: 64 characters, an @, and 255.
_LONGEST = 320
Kind = Literal["email", "user"]


@dataclass(frozen=True, slots=True)
class Identity:
    """One thing that somebody is known by, in the one way in which it is written here."""

    kind: Kind
    text: str

    def __repr__(self) -> str:
        return f"Identity({self.kind!r}, ...)"


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """A key under which identities are hashed."""

    id: str
    #: In seconds since 1970: the newest writes.
    made: int
    secret: bytes

    def __repr__(self) -> str:
        return f"IdentityKey({self.id!r}, ...)"

    def hash(self, identity: Identity) -> str:
        """Return what is stored of an identity."""
        message = f"{identity.kind}\x1f{identity.text}".encode()
        return hmac.digest(self.secret, message, "sha256").hex()

    @classmethod
    def read(cls, id: str, stored: str) -> IdentityKey:
        """Return the key of what `stored` says. Raises `ValueError`."""
        made, _, secret = stored.partition(":")
        return cls(id, int(made), bytes.fromhex(secret))


def identities(email: object, user_id: object) -> tuple[Identity, ...]:
    """Return what is known, the address first; nothing for what is none."""
    address, key = email_of(email), user_of(user_id)
    named: list[Identity] = [] if address is None else [Identity("email", address)]
    return (*named, *(() if key is None else (Identity("user", key),)))


def email_of(value: object) -> str | None:
    """Return an address as it is hashed, or None where it is none."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    if len(text) > _LONGEST or not text.isprintable():
        return None
    local, _, domain = text.rpartition("@")
    local, domain = unicodedata.normalize("NFC", local.lower()), _domain(domain)
    return f"{local}@{domain}" if local and domain else None


def user_of(value: object) -> str | None:
    """Return a user's ID as it is hashed (`42` and `"42"` are one), or None where it is none."""
    try:
        return customer_key_of(value)
    except InvalidConversion:
        return None


def _domain(name: str) -> str:
    """Return a domain as the DNS has it."""
    folded = name.casefold().rstrip(".")
    try:
        return folded.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return folded
