"""The click token: a click in an address, signed and timed. Pure.

It hides nothing, because the landing's address showed the same click: itsdangerous signs it, under a
salt of its own for each purpose, so that no cookie can be made of it and it is good for nothing but
what it was made for. Its time is inside what is signed, and read by the caller's clock. It serves two
hours and one customer; nothing is stored to make one, so it works while the database is down.

A token that is bound to a host (`to`) hands a click over to another site of the same owner; one that
is bound to a page is for the redirect that cleans that page's address. Opened there it is good for
ten minutes, or one; as the address of the page before, for two hours like any other. So a link that a
page got from somebody else tells nobody anything: the host that it leads to cannot open it, and the
host that can does not accept it.

A token also travels in the state that a log-in or a payment elsewhere sends back. That one is good as
nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from itsdangerous import BadData, URLSafeSerializer

from ..click import Click, unpack_click
from .cookie import AHEAD

#: The parameter in which a token travels. It has "xid" in it, which every request is searched for.
PARAMETER = "s2s_xid"
#: How long a token is good for as the address of the page before.
LIFE = timedelta(hours=2)
#: How long one that is bound is good for where it leads to.
HAND_OVER_LIFE, PAGE_LIFE = timedelta(minutes=10), timedelta(minutes=1)
#: How many bytes of chance go into each: two tokens of one click serve two customers.
NONCE = 9
#: Longer ones lose their sub IDs: the network has those from its own link.
_LONG = 400
_LONGEST = 2048
#: itsdangerous passes over what is no base64, and a token goes on into a header as it came.
_TOKEN = re.compile(r"[A-Za-z0-9._-]+\Z")
_SKEW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Carried:
    """The content of a token."""

    click: Click
    #: The one host, or page, that it is for; None: the site that made it.
    to: str | None
    #: Under which it is spent on one customer.
    id: str
    made: datetime

    def is_fresh(self, now: datetime) -> bool:
        """Say whether it may be opened where it leads to."""
        page = self.to is not None and "/" in self.to
        return now - self.made <= (PAGE_LIFE if page else HAND_OVER_LIFE)

    def is_for(self, host: str) -> bool:
        """Say whether a page of this host can have it in its address."""
        return self.to is None or self.to.partition("/")[0] == host


class TokenSigner:
    """Makes tokens and opens them. `keys` are oldest first; the last one signs."""

    def __init__(
        self,
        keys: Sequence[str | bytes],
        window: timedelta,
        windows: Mapping[str, timedelta] | None = None,
        *,
        purpose: str = "address",
    ) -> None:
        self._window = window
        self._windows = windows or {}
        self._keys = keys
        self._salt = f"flask-s2s.token.1.{purpose}"
        self._keyed: URLSafeSerializer | None = None

    @property
    def _serializer(self) -> URLSafeSerializer:
        if self._keyed is None:
            keys: list[Any] = list(self._keys)
            hashed = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
            self._keyed = URLSafeSerializer(keys, salt=self._salt, signer_kwargs=hashed)
        return self._keyed

    def dumps(self, click: Click, now: datetime, nonce: bytes, to: str | None = None) -> str:
        """Return a token of `click`, good from `now` on. `nonce` is `NONCE` bytes of chance."""
        token = self._dump(click, click.sub_ids, now, nonce, to)
        return token if len(token) <= _LONG else self._dump(click, (), now, nonce, to)

    def loads(self, token: str, now: datetime) -> Carried | None:
        """Return what a token of ours carries, while it is good; None for anything else."""
        if len(token) > _LONGEST or not _TOKEN.match(token):
            return None
        try:
            return self._read(self._serializer.loads(token), now)
        # The others are a payload of another shape, which we never signed.
        except (BadData, ValueError, TypeError, OverflowError, OSError):
            return None

    def _dump(
        self, click: Click, sub_ids: Sequence[str], now: datetime, nonce: bytes, to: str | None
    ) -> str:
        at, made = int(click.at.timestamp()), int(now.timestamp())
        payload = [nonce.hex(), made, to, click.network, click.click_id, at]
        payload += [click.partner_key, click.link_host, list(sub_ids)]
        token: str = self._serializer.dumps(payload)
        return token

    def _read(self, payload: Any, now: datetime) -> Carried | None:
        nonce, made, to, network, click_id, at, *rest = payload
        made_at = datetime.fromtimestamp(made, timezone.utc)
        if not -_SKEW <= now - made_at <= LIFE:
            return None
        click = unpack_click(network, click_id, at, *rest)
        window = self._windows.get(network, self._window)
        if not now - window <= click.at <= now + AHEAD:
            return None
        # Not of the text: base64 has several for one signature.
        spent_as = hashlib.sha256(f"{nonce}.{made}.{network}.{click_id}".encode()).hexdigest()
        return Carried(click, to, spent_as, made_at)


#: Between a site's own state and the token.
_STATE = "~s2s~"
_PORTS = {"http": ":80", "https": ":443"}


def host_of(url: str) -> str | None:
    """Return the host of an absolute web address as a browser will send it, or None."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii").decode()
    except (UnicodeError, ValueError):
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in host or "\\" in url:
        return None
    return host.lower().removesuffix(_PORTS[parts.scheme])


def with_token(url: str, token: str) -> str:
    """Return `url` with the token in its query string."""
    front, hash_, fragment = url.partition("#")
    front, _, query = front.partition("?")
    kept = [part for part in query.split("&") if part and part.partition("=")[0] != PARAMETER]
    return f"{front}?{'&'.join([*kept, f'{PARAMETER}={token}'])}{hash_}{fragment}"


def with_state(own: str, token: str) -> str:
    """Return a site's own state with a token behind it."""
    return f"{own}{_STATE}{token}"


def own_and_token(state: str) -> tuple[str, str | None]:
    """Return a site's own state and the token that came with it, if one did."""
    own, mark, token = state.rpartition(_STATE)
    return (own, token) if mark else (state, None)
