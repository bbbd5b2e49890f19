"""PartnerStack's clicks: the parameters of its links, and the cookies of its script. Pure.

Parameter names and shapes: docs.partnerstack.com (server-to-server tracking) and landing URLs seen
in the field. Click IDs are 14 letters and digits (12 in old links), and any other is kept too.

Links change between a partner's page and the site: where a query string brings no click ID as it
stands, it is read out of what people, mail programs and link tools have made of one. Only the
published form ever is: with any other text nobody could say where it begins and ends. A value within
an address of its own (`next=https://...`) is that address's, and is left to it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import unquote_plus

from ...click import (
    MAX_SUB_IDS,
    Click,
    is_placeholder,
    valid_click_id,
    valid_host,
    valid_partner_key,
    valid_sub_id,
    wordless,
)
from ...click.formats import Cookies, pairs, pieces

NAME = "partnerstack"
_SUB_ID_NAME = re.compile(r"sid([0-9]{0,2})\Z")
_CLICK_IDS = ("ps_xid", "gsxid")
#: The key is decoded here already, unlike in the URL.
_COOKIES_OF_KEYS = ("ps_partner_key", "growSumoPartnerKey")
#: How often something is percent-encoded at most: twice on its way, and once as it should be.
_ENCODED = 3
#: Whole and apart: what follows it is no part of a longer ID, or the same address once more.
_PUBLISHED = re.compile(
    r"(?:[A-Za-z0-9]{14}|[A-Za-z0-9]{12})(?:(?=https?:)|(?![A-Za-z0-9_~-]|\.[A-Za-z0-9]))"
)
#: A mail's "=" (quoted-printable), which is longer than an ID only before the longer form.
_QUOTED = re.compile(r"3D(?=[\"']?[A-Za-z0-9]{14}(?![A-Za-z0-9_.~-]))", re.IGNORECASE)
#: Characters that nobody sees, and the ends of lines: copied along, also within.
_UNSEEN = re.compile(
    "[\x00-\x08\t\n\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
#: The same, and a line as mails break it.
_BROKEN = re.compile(f"=[\r\n]+|{_UNSEEN.pattern}")
#: A parameter's name, in capitals, escaped for Markdown (`ps\_xid`), or behind whatever a tool has
#: made of "&" and "?"; as one of a list (`[]`, `[0]`, `.0`); and whatever a tool, or a keyboard, has
#: made of "=". A colon is one only where the name begins: within another parameter people write about
#: it (`q=ps_xid: ...`).
_NAMED = re.compile(
    rf"(?:(?P<first>\A[?\s{_UNSEEN.pattern[1:]}*)|(?<![A-Za-z0-9_-])|(?<=u0026)|(?<=&amp)|\Aamp)"
    rf"(?:ps\\?_xid|gsxid)(?:\[\d*\]|\.\d)?[\s{_UNSEEN.pattern[1:]}*"
    r"(?:[=\uff1d]|\\u003d|(?(first):|(?!)))+(?P<value>.*)",
    re.IGNORECASE | re.DOTALL,
)
#: What stands before an ID that was copied with its quotes, also those of Windows, which are no UTF-8.
_BEFORE = re.compile(r"[\s\"'`*\u2018-\u201e\u00ab\u00bb\ufffd]*")
#: Its part of a name that tools and people leave where the ID belongs.
_OWN_NAME = re.compile("partnerstack|ps|gs")


class PartnerStackClicks:
    """Reads them: its `ClickFormat`."""

    signs = ("xid",)

    def read(self, query: str, now: datetime) -> Click | None:
        """Read a landing's query string.

        The first *valid* value of a repeated parameter wins; a partner key, sub ID or host that is
        not acceptable is dropped and the click is kept.
        """
        found = _parameters(query)
        click_id = found.get("ps_xid") or found.get("gsxid") or _repaired(query)
        if click_id is None:
            return None
        return Click(
            network=NAME,
            click_id=click_id,
            partner_key=found.get("ps_partner_key") or found.get("gspk"),
            sub_ids=_sub_ids(found),
            link_host=found.get("pscd"),
            at=now,
        )

    def is_click_id(self, name: str) -> bool:
        return name in _CLICK_IDS

    def is_parameter(self, name: str) -> bool:
        return name in _READERS or self.is_sub_id(name)

    def is_sub_id(self, name: str) -> bool:
        return _SUB_ID_NAME.match(name) is not None

    def placeholder(self, value: str) -> bool:
        return _names_itself(value)

    def read_cookies(self, header: str, cookies: Cookies, now: datetime) -> Click | None:
        if "xid=" not in header:
            return None
        click_id = next(filter(_is_click_id, _values(cookies, _CLICK_IDS)), None)
        if click_id is None:
            return None
        key = next(filter(valid_partner_key, _values(cookies, _COOKIES_OF_KEYS)), None)
        return Click(network=NAME, click_id=click_id, partner_key=key, at=now)


def _values(cookies: Cookies, names: Iterable[str]) -> list[str]:
    return [value for name in names for value in cookies(name)]


def _is_click_id(value: str) -> bool:
    return valid_click_id(value) and not _is_own_name(value)


def decode_partner_key(value: str) -> str | None:
    """Decode the URL's partner key: base64, usually without its padding. None if it is not one."""
    stripped = value.rstrip("=")
    padded = stripped + "=" * (-len(stripped) % 4)
    try:
        decoded = base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
        text = decoded.decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return text if valid_partner_key(text) else None


def _click_id(value: str) -> str | None:
    return _mended(value) if _is_click_id(value) else None


def _host(value: str) -> str | None:
    return value.lower() if valid_host(value) else None


def _sub_id(value: str) -> str | None:
    return value if valid_sub_id(value) else None


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
    for name, text in pairs(query):
        if name in found or text is None:
            continue
        reader = _READERS.get(name) or (_sub_id if _SUB_ID_NAME.match(name) else None)
        value = reader(text) if reader else None
        if value is not None:
            found[name] = value
    return found


def _names_itself(value: str) -> bool:
    """Say whether a value stands for a click ID that was never put in."""
    return is_placeholder(value) or _is_own_name(value)


def _is_own_name(value: str) -> bool:
    return is_placeholder(_OWN_NAME.sub("", wordless(value), count=1))


def _mended(value: str) -> str:
    """Return a click ID without the full stop that was copied along."""
    whole = _QUOTED.sub("", value, count=1).rstrip(".")
    return whole if whole != value and whole == _published(value) else value


def _repaired(query: str) -> str | None:
    """Return the click ID in the damaged parts of a query string, if it is published."""
    for piece in pieces(query):
        if "xid" in piece.lower() and (found := _in_piece(piece)) is not None:
            return found
    return None


def _in_piece(piece: str) -> str | None:
    # As WSGI has it: bytes as Latin-1.
    text = piece.encode("latin-1", "replace").decode("utf-8", "replace")
    for _ in range(_ENCODED):
        text = unquote_plus(text, errors="replace")
        named = _NAMED.search(text)
        if named and not _is_an_address(text[: named.start()]):
            again = _NAMED.match(named["value"])
            found = _published((again or named)["value"])
            if found is not None:
                return found
        if "%" not in text:
            break
    return None


def _is_an_address(before: str) -> bool:
    """Say whether what stands before a name begins an address, whose parameter it is."""
    value = before.partition("=")[2].lstrip()
    return "//" in before or "\\\\" in before or value.startswith("/")


def _published(value: str) -> str | None:
    """Return the published form that a value begins with, but for what nobody meant.

    What nobody sees may be within it, or be all that stands between it and what was glued on.
    """
    return _begun(_BROKEN.sub("", value)) or _begun(_UNSEEN.sub(" ", value))


def _begun(text: str) -> str | None:
    begins = _BEFORE.match(text)
    start = begins.end() if begins else 0
    if quoted := _QUOTED.match(text, start):
        start = quoted.end() + (text[quoted.end()] in "\"'")
    found = _PUBLISHED.match(text, start)
    return found[0] if found and not _names_itself(found[0]) else None
