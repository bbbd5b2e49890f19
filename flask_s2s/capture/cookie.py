"""The cookie: the signed record of a click, how it travels, and the domain that it must keep to.

A record is a version character and an itsdangerous string: compact JSON, HMAC-SHA-256, a salt of
our own per version, so that nothing else signed with the same SECRET_KEY is ever a click. The time
of the click is *inside* the signature: signing again cannot extend the window, and a record from
the future counts from now: only a clock can have dated it, since nobody else signs. One click has
one spelling: base64 lets several texts mean the same signature, and all but the one that we wrote are
refused.

`http.cookies.SimpleCookie` drops a whole header for one illegal name somewhere in it, and a browser
may send two cookies of one name (host-only and domain), so the header is read by hand.

A cookie's widest domain is the registrable one, by the public-suffix list. The private section counts
too: `github.io` is a suffix, or one tenant could set another's cookie. The host is the visitor's word,
so a host that is no plain DNS name gets a host-only cookie, and nothing of it reaches a header. So does
a name with the root's dot at its end, for which a browser would refuse a domain without the dot.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from itsdangerous import BadData, Signer, URLSafeSerializer
from itsdangerous.encoding import base64_encode
from publicsuffixlist import PublicSuffixList

from ..click import MAX_TOUCHES, Click, Kept, Unreadable, unpack_click

_VERSION = "1"
#: A cookie of more than 4,096 bytes is dropped by browsers; this leaves room for its attributes.
MAX_RECORD = 3500
#: How far ahead a click may be dated: a machine's clock is an hour off where its time zone is wrong,
#: and a day where its date is.
AHEAD = timedelta(days=1)


class RecordSigner:
    """Turns clicks into records and back. `keys` are oldest first; the last one signs.

    `windows` are of networks with another window than the rest.
    """

    def __init__(
        self,
        keys: Sequence[str | bytes],
        window: timedelta,
        windows: Mapping[str, timedelta] | None = None,
    ) -> None:
        self._window = window
        self._windows = windows or {}
        self._keys = keys
        self._keyed: list[hmac.HMAC] | None = None
        self._payloads = URLSafeSerializer("")

    @property
    def _macs(self) -> list[hmac.HMAC]:
        """One for each key, the one that signs first; keyed once, and copied for each record."""
        if self._keyed is None:
            salt = f"flask-s2s.click.{_VERSION}"
            hashed: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
            signers = [Signer(key, salt=salt, **hashed) for key in reversed(self._keys)]
            self._keyed = [hmac.new(one.derive_key(), digestmod=hashlib.sha256) for one in signers]
        return self._keyed

    def expires(self, click: Click) -> datetime:
        """Return when a click's window closes."""
        return click.at + self._windows.get(click.network, self._window)

    def dumps(self, click: Click, touches: Sequence[Click] = ()) -> str:
        """Return the record of `click`, with the visitor's earlier ones, the newest first.

        What would not fit into a cookie is left out: the oldest touches first, then sub IDs.
        """
        sub_ids, earlier = list(click.sub_ids), [_brief(touch) for touch in touches[:MAX_TOUCHES]]
        record = self._dump(click, sub_ids, earlier)
        while len(record) > MAX_RECORD and (earlier or sub_ids):
            (earlier or sub_ids).pop()
            record = self._dump(click, sub_ids, earlier)
        return record

    def loads(self, record: str, now: datetime) -> Click | Unreadable:
        """Return the click of a record that we signed and whose window is open."""
        kept = self.read(record, now)
        return kept.click if isinstance(kept, Kept) else kept

    def read(self, record: str, now: datetime, shut: datetime | None = None) -> Kept | Unreadable:
        """Return all of a record that we signed and whose click's window is open.

        A window is judged by `shut`, where that is not `now`.
        """
        if len(record) > MAX_RECORD or not record.startswith(_VERSION):
            return Unreadable("bad_signature")
        payload, _, signature = record[1:].rpartition(".")
        try:
            encoded = payload.encode()
            if not self._is_ours(encoded, signature.encode()):
                return Unreadable("bad_signature")
            kept = _from_payload(self._payloads.load_payload(encoded))
        # TypeError is a payload of another shape; the last two are a time beyond the calendar.
        except (BadData, ValueError, TypeError, OverflowError, OSError):
            return Unreadable("bad_signature")
        click = kept.click
        if click.at > now + AHEAD:
            return replace(kept, click=replace(click, at=now))
        if self.expires(click) < (shut or now):
            return Unreadable("expired", click)
        return kept

    def _dump(self, click: Click, sub_ids: list[str], earlier: list[Any]) -> str:
        at = int(click.at.timestamp())
        payload: list[Any] = [click.network, click.click_id, at]
        payload += [click.partner_key, click.link_host, sub_ids]
        if earlier:
            payload.append(earlier)
        text = self._payloads.dump_payload(payload)
        return _VERSION + (text + b"." + _signature(self._macs[0], text)).decode()

    def _is_ours(self, payload: bytes, signature: bytes) -> bool:
        """Compare as text: base64 has several for one signature, and only ours is accepted."""
        return any(hmac.compare_digest(_signature(mac, payload), signature) for mac in self._macs)


def _signature(mac: hmac.HMAC, payload: bytes) -> bytes:
    mine = mac.copy()
    mine.update(payload)
    return base64_encode(mine.digest())


def _brief(touch: Click) -> list[Any]:
    """Return the part of an earlier click that a record keeps: the rest of it is in its row."""
    return [touch.network, touch.click_id, int(touch.at.timestamp())]


def _from_payload(payload: Any) -> Kept:
    network, click_id, at, partner_key, link_host, sub_ids, *earlier = payload
    touches = tuple(unpack_click(*touch) for touch in (earlier[0] if earlier else ()))
    return Kept(unpack_click(network, click_id, at, partner_key, link_host, sub_ids), touches)


_MAX_HEADER = 65536
#: So many cookies of one name are looked at: each is a signature to verify. A browser sends one for
#: each domain and path that set it.
_MOST = 200
_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)


def read_cookies(header: str, name: str) -> list[str]:
    """Return every value of the cookie `name`, in the order sent."""
    values = []
    for piece in header[:_MAX_HEADER].split(";"):
        if name not in piece:
            continue  # the site's own, mostly
        found, equals, value = piece.partition("=")
        if equals and found.strip() == name:
            values.append(value.strip().strip('"'))
            if len(values) == _MOST:
                break
    return values


def set_cookie(
    name: str, value: str, *, domain: str | None, secure: bool, expires: datetime, seconds: int
) -> tuple[str, str]:
    """Return the header that keeps `value` for `seconds`."""
    parts = [f"{name}={value}", f"Expires={format_datetime(expires, usegmt=True)}"]
    parts += [f"Max-Age={seconds}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if domain:
        parts.append(f"Domain={domain}")
    if secure:
        parts.append("Secure")
    return ("Set-Cookie", "; ".join(parts))


def expire_cookie(name: str, *, domain: str | None, secure: bool) -> tuple[str, str]:
    """Return the header that makes a browser drop the cookie of exactly this domain (None: host)."""
    return set_cookie(name, "", domain=domain, secure=secure, expires=_LONG_AGO, seconds=0)


#: Labels of a name in its ASCII form. No top-level domain begins with a digit; an IPv4 address
#: does, in every spelling that a browser knows ("127.1", "0x7f.1").
_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])\Z"
)
_PORT = re.compile(r":[0-9]*\Z")


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


@lru_cache(maxsize=1024)
def registrable_domain(host: str) -> str | None:
    """Return the registrable domain of `host` (with or without a port).

    None where a cookie must be host-only: IP addresses, single labels and public suffixes.
    """
    name = _PORT.sub("", host).lower()
    if not _NAME.match(name):
        return None
    domain = _suffixes().privatesuffix(name)
    return domain if isinstance(domain, str) else None


def without_www(host: str) -> str:
    """Return the host's name, the same for a site with and without its www."""
    return host.partition(":")[0].removeprefix("www.")


def read_suffixes() -> None:
    """Read the list now (about 50 ms), so that no visitor waits for it."""
    _suffixes()
