"""A click, and its forms.

A click ID may be longer and odder than those that networks issue: it is opaque, so none may be lost.
It may not be "anything", because it travels in a cookie, a database and a JSON
body. Nor may it be a placeholder: a name that nobody has filled in. How a network's clicks are read from
an address is its own (`formats`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from ..config.builtin import BUILT_IN

#: Longest sub ID, in characters (networks document 255).
MAX_SUB_ID = 255
#: How many sub IDs of one click are kept.
MAX_SUB_IDS = 10
#: How much of a query string is read, in characters.
MAX_QUERY = 65536

_CLICK_ID = re.compile(r"[A-Za-z0-9._~-]{1,512}\Z")
_PARTNER_KEY = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: A name that was to be replaced by a value, as templates of mails, ads and pages write it.
_TEMPLATE = re.compile(
    r"[\s\"']*(?:\{.*\}|\[.*\]|<.*>|\(.*\)|\$.+|%.*%|#.*#|\*\|.*\|\*|@@?.*@@?|__.*__)[\s\"'.]*\Z",
    re.DOTALL,
)
_WORDLESS = re.compile(r"[^a-z0-9]+")
#: The same without its marks: what people and programs name a click's ID, the words of programs for
#: nothing, and what stands where something was taken out.
_WORD = re.compile(
    r"(?:(?:replace|insert|enter|put|with|your|the|my|aff|affiliate|partner)*"
    r"(?:clickx?id|xid|subid|affsub|externalid|transactionid|[gft]bclid|gclid|msclkid|ttclid)"
    r"(?:goes|here|macro|param|value)*"
    r"|(?:undefined|null|none|nil|nan)+"
    r"|na|false|true|void|empty|blank|unknown|(?:not|un)set|default|missing|redacted|deleted|todo|tbd"
    r"|placeholder|replaceme|objectobject|string|value|(?:your)?id|x{3,}|0+)?\Z"
)


#: How many of a visitor's earlier clicks a record keeps.
MAX_TOUCHES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """A network's account of one visitor, as a landing URL had it."""

    network: str = BUILT_IN[0]
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
        if not all(valid_sub_id(value) for value in self.sub_ids):
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


def within(click: Click, size: int) -> Click:
    """Return a click whose sub IDs take at most `size` bytes of a row: the last ones are left out."""
    kept = list(click.sub_ids)
    while kept and len(json.dumps(kept)) > size:
        kept.pop()
    return click if len(kept) == len(click.sub_ids) else replace(click, sub_ids=tuple(kept))


def unpack_click(
    network: str,
    click_id: str,
    at: int,
    partner_key: str | None = None,
    link_host: str | None = None,
    sub_ids: Iterable[str] = (),
) -> Click:
    """Rebuild a click from what a record or a token has of it; `at` is in whole seconds."""
    return Click(
        network=network,
        click_id=click_id,
        partner_key=partner_key,
        sub_ids=tuple(sub_ids),
        link_host=link_host,
        at=datetime.fromtimestamp(at, timezone.utc),
    )


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The reason why a record gave no click: `bad_signature` or `expired`."""

    reason: str
    #: The click whose window has closed.
    click: Click | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The content of a record."""

    click: Click
    #: The visitor's other clicks, newest first: their network, ID and time.
    touches: tuple[Click, ...]


def valid_click_id(value: str) -> bool:
    """Say whether `value` may be a click ID."""
    return _CLICK_ID.match(value) is not None and not is_placeholder(value)


def valid_partner_key(value: str) -> bool:
    """Say whether `value` may be a partner key, decoded."""
    return _PARTNER_KEY.match(value) is not None


def valid_host(value: str) -> bool:
    """Say whether `value` may be a host, with a port or without."""
    return _HOST.match(value) is not None


def valid_sub_id(value: str) -> bool:
    """Say whether `value` may be a sub ID."""
    return 0 < len(value) <= MAX_SUB_ID and not _CONTROL.search(value)


def wordless(value: str) -> str:
    """Return a short value as a bare word: in small letters, without its marks."""
    return _WORDLESS.sub("", value[:64].lower())


def is_placeholder(value: str) -> bool:
    """Say whether a value stands for a click ID that was never put in: `{click_id}`, `undefined`."""
    return _WORD.match(wordless(value)) is not None or _TEMPLATE.match(value) is not None
