"""Arrivals: the page that a visitor landed on, its `utm_*` parameters, the host of the page before.

It is kept beside the click's row and nowhere else, for people to look at. Other parameters may be
personal, and are left out; so is all of the page before but its host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from ..click import MAX_QUERY, valid_host
from .chain import came

#: The longest that is kept of an address and of a parameter's value, in characters.
_ADDRESS, _VALUE = 512, 200
#: How many parameters, and how many bytes of them all in a row: JSON writes most letters in six.
_MOST, _BYTES = 10, 2048
_NAME = re.compile(r"utm_[a-z0-9_]{1,28}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A landing, as far as it is kept."""

    #: Host and path: a scheme would be that of the last proxy.
    page: str | None = None
    utm: Mapping[str, str] = field(default_factory=dict)
    #: The host of the page that the link was on, where the browser tells and it is another.
    referrer: str | None = None

    def dump(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"page": self.page, "utm": dict(self.utm), "referrer": self.referrer}


def read_arrival(environ: dict[str, Any]) -> Arrival:
    """Read a landing's request."""
    query, referer = came(environ)
    host = _host(environ.get("HTTP_HOST", ""))
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}" or "/"
    page = host and f"{host}{quote(path.encode('latin-1', 'replace'))}"[:_ADDRESS]
    before = _host_of(referer)
    return Arrival(page=page, utm=_utm(query), referrer=before if before != host else None)


def _host(text: str) -> str | None:
    return text.lower() if valid_host(text) else None


def _host_of(address: str) -> str | None:
    try:
        return _host(urlsplit(address[:MAX_QUERY]).netloc)
    except ValueError:
        return None


def _utm(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    left = _BYTES
    for piece in query[:MAX_QUERY].split("&"):
        name, _, raw = piece.partition("=")
        if not _NAME.match(name) or name in found or len(found) == _MOST:
            continue
        text = unquote_to_bytes(raw.replace("+", " ").encode("latin-1", "replace"))
        value = _CONTROL.sub("", text.decode("utf-8", "replace"))[:_VALUE]
        size = len(name) + len(json.dumps(value))
        if value and size <= left:
            found[name] = value
            left -= size
    return found
