"""PartnerStack's clicks: the parameters of its links, and the cookies of its script. Pure.

Parameter names and shapes: docs.partnerstack.com (server-to-server tracking) and landing URLs seen
in the field. Click IDs are 14 letters and digits (12 in old links), and any other is kept too. Where
a query string brings none as it stands, `damage` reads what people, mail programs and link tools
have made of one.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from datetime import datetime

from ...click import (
    MAX_SUB_IDS,
    Click,
    valid_click_id,
    valid_host,
    valid_partner_key,
    valid_sub_id,
)
from ...click.formats import Cookies, decode, pairs, pieces
from .damage import mended, names_itself, repaired

NAME = "partnerstack"
_SUB_ID_NAME = re.compile(r"sid([0-9]{0,2})\Z")
_CLICK_IDS = ("ps_xid", "gsxid")
#: The key is decoded here already, unlike in the URL.
_COOKIES_OF_KEYS = ("ps_partner_key", "growSumoPartnerKey")


class PartnerStackClicks:
    """Reads them: its `ClickFormat`."""

    signs = ("xid",)

    def read(self, query: str, now: datetime) -> Click | None:
        """Read a landing's query string.

        The first *valid* value of a repeated parameter wins; a partner key, sub ID or host that is
        not acceptable is dropped and the click is kept.
        """
        found = _parameters(query)
        click_id = found.get("ps_xid") or found.get("gsxid") or repaired(pieces(query))
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
        return names_itself(value)

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
    return valid_click_id(value) and not names_itself(value)


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
    return mended(value) if _is_click_id(value) else None


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
    for name, raw in pairs(query):
        if name in found:
            continue
        reader = _READERS.get(name) or (_sub_id if _SUB_ID_NAME.match(name) else None)
        text = decode(raw) if reader else None
        value = reader(text) if reader and text is not None else None
        if value is not None:
            found[name] = value
    return found
