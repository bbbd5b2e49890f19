"""A click, and reading one from a query string.

What counts as a click ID is deliberately wider than what PartnerStack issues today (14 letters and
digits, 12 in old links): the ID is opaque, so a longer one must not be lost. It is narrower than
"anything", because it travels in a cookie, a database and a JSON body.

The query string is the visitor's: only its first 64 KiB are read, in one pass, and a value that may
have been cut there is not used at all (a truncated click ID credits nobody).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import unquote_to_bytes

PARTNERSTACK = "partnerstack"

#: No query string without it has a click or a handle: the search that every request pays for.
SIGN = "xid"

#: Longest click ID that is kept, in characters.
MAX_CLICK_ID = 512
#: Longest sub ID, in characters (PartnerStack documents 255).
MAX_SUB_ID = 255
#: How many sub IDs of one click are kept.
MAX_SUB_IDS = 10
#: How much of a query string is read, in characters.
MAX_QUERY = 65536

_CLICK_ID = re.compile(r"[A-Za-z0-9._~-]{1,512}\Z")
_PARTNER_KEY = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?\Z")
_SUB_ID_NAME = re.compile(r"sid([0-9]{0,2})\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """What the network told us in a landing URL."""

    network: str = PARTNERSTACK
    #: Opaque and case-sensitive; at most 512 characters.
    click_id: str
    #: Decoded partner key (the URL carries it in base64).
    partner_key: str | None = None
    #: In the order sid, sid1, sid2, ...; each at most 255 characters.
    sub_ids: tuple[str, ...] = ()
    #: Host of the clicked link, when that is the partner programme's custom domain.
    link_host: str | None = None
    #: When the visitor landed; aware UTC.
    at: datetime

    def __post_init__(self) -> None:
        if not _CLICK_ID.match(self.click_id):
            raise ValueError("click_id must be 1 to 512 letters, digits or . _ ~ -")
        if self.partner_key is not None and not _PARTNER_KEY.match(self.partner_key):
            raise ValueError("partner_key must be 1 to 128 letters, digits or . _ -, decoded")
        if self.link_host is not None and not _HOST.match(self.link_host):
            raise ValueError("link_host must be a host name, with a port or without")
        if isinstance(self.sub_ids, str):
            raise ValueError("sub_ids must be a tuple of strings, not one string")
        if len(self.sub_ids) > MAX_SUB_IDS:
            raise ValueError(f"sub_ids must be at most {MAX_SUB_IDS}")
        if any(_sub_id(value) is None for value in self.sub_ids):
            raise ValueError(f"a sub ID must be 1 to {MAX_SUB_ID} characters, none of control")
        if self.at.tzinfo is None:
            raise ValueError("at must be an aware datetime")


def dump_click(click: Click) -> dict[str, Any]:
    """Return a click as JSON can hold it."""
    return {
        "network": click.network,
        "click_id": click.click_id,
        "partner_key": click.partner_key,
        "sub_ids": list(click.sub_ids),
        "link_host": click.link_host,
        "at": click.at.timestamp(),
    }


def load_click(values: dict[str, Any]) -> Click:
    """Rebuild what `dump_click` wrote."""
    at = datetime.fromtimestamp(values["at"], timezone.utc)
    return Click(**{**values, "sub_ids": tuple(values["sub_ids"]), "at": at})


def unpack_click(
    network: str,
    click_id: str,
    at: int,
    partner_key: str | None = None,
    link_host: str | None = None,
    sub_ids: Iterable[str] = (),
) -> Click:
    """Rebuild a click from what a record or a handle has of it; `at` is in whole seconds."""
    return Click(
        network=network,
        click_id=click_id,
        partner_key=partner_key,
        sub_ids=tuple(sub_ids),
        link_host=link_host,
        at=datetime.fromtimestamp(at, timezone.utc),
    )


def valid_click_id(value: str) -> bool:
    """Say whether `value` may be a click ID."""
    return _CLICK_ID.match(value) is not None


def valid_partner_key(value: str) -> bool:
    """Say whether `value` may be a partner key, decoded."""
    return _PARTNER_KEY.match(value) is not None


def may_carry_click(query: str) -> bool:
    """Say quickly whether a query string is worth reading."""
    return SIGN in query


def is_click_id(name: str) -> bool:
    """Say whether a query parameter of this name is a click's ID."""
    return name in ("ps_xid", "gsxid")


def is_click_parameter(name: str) -> bool:
    """Say whether a query parameter of this name is a part of a click."""
    return name in _READERS or _SUB_ID_NAME.match(name) is not None


def read_click(query: str, now: datetime) -> Click | None:
    """Read the click in a query string (as WSGI gives it), or None where there is none.

    Parameter names and shapes: docs.partnerstack.com (server-to-server tracking) and landing URLs
    seen in the field. The first *valid* value of a repeated parameter wins; a partner key, sub ID
    or host that is not acceptable is dropped and the click is kept.
    """
    found = _parameters(query)
    click_id = found.get("ps_xid") or found.get("gsxid")
    if click_id is None:
        return None
    return Click(
        click_id=click_id,
        partner_key=found.get("ps_partner_key") or found.get("gspk"),
        sub_ids=_sub_ids(found),
        link_host=found.get("pscd"),
        at=now,
    )


def decode_partner_key(value: str) -> str | None:
    """Decode the URL's partner key: base64, usually without its padding. None if it is not one."""
    stripped = value.rstrip("=")
    padded = stripped + "=" * (-len(stripped) % 4)
    try:
        decoded = base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
        text = decoded.decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return text if _PARTNER_KEY.match(text) else None


def _click_id(value: str) -> str | None:
    return value if _CLICK_ID.match(value) else None


def _host(value: str) -> str | None:
    return value.lower() if _HOST.match(value) else None


def _sub_id(value: str) -> str | None:
    return value if 0 < len(value) <= MAX_SUB_ID and not _CONTROL.search(value) else None


_READERS = {
    "ps_xid": _click_id,
    "gsxid": _click_id,
    "ps_partner_key": decode_partner_key,
    "gspk": decode_partner_key,
    "pscd": _host,
}


def _sub_ids(found: dict[str, str]) -> tuple[str, ...]:
    named = [(m[1], value) for name, value in found.items() if (m := _SUB_ID_NAME.match(name))]
    named.sort(key=lambda pair: int(pair[0]) if pair[0] else -1)
    return tuple(value for _, value in named[:MAX_SUB_IDS])


def _parameters(query: str) -> dict[str, str]:
    """Map each known parameter to its first valid value."""
    found: dict[str, str] = {}
    for name, raw in _pairs(query):
        if name in found:
            continue
        reader = _READERS.get(name) or (_sub_id if _SUB_ID_NAME.match(name) else None)
        text = _decode(raw) if reader else None
        value = reader(text) if reader and text is not None else None
        if value is not None:
            found[name] = value
    return found


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    pieces = query[:MAX_QUERY].split("&")
    if len(query) > MAX_QUERY:
        pieces.pop()
    for piece in pieces:
        name, equals, value = piece.partition("=")
        if equals:
            yield (_decode(name) or "") if "%" in name else name, value


def _decode(raw: str) -> str | None:
    """Percent-decode; None when the bytes are not UTF-8."""
    try:
        return unquote_to_bytes(raw.replace("+", " ").encode("latin-1")).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return None
