"""The handle: what carries a click in the site's own links and forms while no cookie comes back.

Never the record itself: it is sealed (a keyed stream, then HMAC-SHA-256 over it) under keys of its
own, so that an address bar, a log or a copied link shows nothing, and no cookie can be made of it.
It serves two hours and one customer. Nothing is stored to make one: it works while the database
is down, and before a visitor has agreed that anything is kept.

A handle that is bound to a host (`to`) hands a click over to another site of the same owner: it is
good for ten minutes and there alone; one that is bound to a page, for a minute.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property

from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode
from itsdangerous.exc import BadData

from ..click import Click, unpack_click

#: The parameter, and the field, in which a handle travels. It has "xid" in it, which every request's
#: query string is searched for anyway.
PARAMETER = "s2s_xid"
#: How long a handle is good for, and one that hands over to another host.
LIFE = timedelta(hours=2)
HAND_OVER_LIFE = timedelta(minutes=10)
#: One for a single page is in its address because a redirect put it there: it is followed at once,
#: and who copies the address later copies nothing.
PAGE_LIFE = timedelta(minutes=1)
#: How many bytes of chance go into each.
NONCE = 12
_VERSION = "1"
_TAG = 16
#: Longer ones lose their sub IDs: the network has those from its own link.
_LONG = 400
_LONGEST = 2048
_SKEW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Carried:
    """What a handle carries."""

    click: Click
    #: The one host that it is for; None: the site that made it.
    to: str | None
    #: Its hash, under which it is spent.
    token: str
    made: datetime


class HandleSealer:
    """Makes handles and opens them. `keys` are oldest first; the last one seals."""

    def __init__(
        self,
        keys: Sequence[str | bytes],
        window: timedelta,
        windows: Mapping[str, timedelta] | None = None,
    ) -> None:
        self._keys = keys
        self._window = window
        self._windows = windows or {}

    @cached_property
    def _derived(self) -> list[tuple[bytes, bytes]]:
        """For each key one that hides and one that signs, the newest pair first."""
        return [(_derive(key, "hide"), _derive(key, "sign")) for key in reversed(self._keys)]

    def seal(self, click: Click, now: datetime, nonce: bytes, to: str | None = None) -> str:
        """Return a handle for `click`, good from `now` on. `nonce` is `NONCE` bytes of chance."""
        handle = self._seal(click, click.sub_ids, now, nonce, to)
        return handle if len(handle) <= _LONG else self._seal(click, (), now, nonce, to)

    def settle(self, carried: Carried) -> str:
        """Return the handle of this site that one bound to it becomes: always the same one."""
        return self.seal(carried.click, carried.made, bytes.fromhex(carried.token)[:NONCE])

    def open(self, handle: str, now: datetime) -> Carried | None:
        """Return what a handle of ours carries, while it is good; None for anything else."""
        if not handle.startswith(_VERSION) or len(handle) > _LONGEST:
            return None
        try:
            sealed = base64_decode(handle[1:])
            if base64_encode(sealed).decode() != handle[1:]:
                return None
            nonce, tag, hidden = (
                sealed[:NONCE],
                sealed[NONCE : NONCE + _TAG],
                sealed[NONCE + _TAG :],
            )
            for hide, sign in self._derived:
                if hmac.compare_digest(_tag(sign, nonce, hidden), tag):
                    return self._read(_mask(hide, nonce, hidden), _hash(handle), now)
        # The last four are a payload of another shape, which we never signed.
        except (BadData, ValueError, TypeError, OverflowError, OSError):
            return None
        return None

    def _seal(
        self, click: Click, sub_ids: Sequence[str], now: datetime, nonce: bytes, to: str | None
    ) -> str:
        at, made = int(click.at.timestamp()), int(now.timestamp())
        payload = [click.network, click.click_id, at, made, click.partner_key, click.link_host]
        text = json.dumps([*payload, list(sub_ids), to], separators=(",", ":")).encode()
        hide, sign = self._derived[0]
        hidden = _mask(hide, nonce, text)
        return _VERSION + base64_encode(nonce + _tag(sign, nonce, hidden) + hidden).decode()

    def _read(self, text: bytes, token: str, now: datetime) -> Carried | None:
        network, click_id, at, made, partner_key, link_host, sub_ids, to = json.loads(text)
        made_at = datetime.fromtimestamp(made, timezone.utc)
        age = now - made_at
        if not -_SKEW <= age <= _life(to):
            return None
        click = unpack_click(network, click_id, at, partner_key, link_host, sub_ids)
        window = self._windows.get(click.network, self._window)
        if not now - window <= click.at <= now + _SKEW:
            return None
        return Carried(click, to, token, made_at)


def _life(to: str | None) -> timedelta:
    if to is None:
        return LIFE
    return PAGE_LIFE if "/" in to else HAND_OVER_LIFE


def _derive(key: str | bytes, purpose: str) -> bytes:
    salt = f"flask-s2s.handle.{_VERSION}.{purpose}"
    return Signer(key, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256).derive_key()


def _mask(key: bytes, nonce: bytes, text: bytes) -> bytes:
    """Add the key's stream for this nonce to `text`; the same again takes it off."""
    stream = hashlib.shake_256(key + nonce).digest(len(text))
    return bytes(a ^ b for a, b in zip(text, stream, strict=True))


def _tag(key: bytes, nonce: bytes, hidden: bytes) -> bytes:
    return hmac.digest(key, nonce + hidden, "sha256")[:_TAG]


def _hash(handle: str) -> str:
    return hashlib.sha256(handle.encode()).hexdigest()
