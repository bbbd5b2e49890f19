"""What the response to a visit with a click says: its headers. Pure.

A response that sets the cookie or has a handle in it belongs to one visitor: it is `private,
no-store` whatever the view decided. A page whose URL has a handle tells that URL to no other site.
A redirect within the site takes along what its request brought, because a visitor who keeps no
cookie would lose it there.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from ..click import is_click_parameter
from .cookie import Headers
from .filling import Filler

#: What tells other sites no more than the page's origin.
_DISCREET = frozenset(
    {
        "no-referrer",
        "same-origin",
        "origin",
        "strict-origin",
        "origin-when-cross-origin",
        "strict-origin-when-cross-origin",
    }
)
#: They describe the page before it was filled.
_OF_THE_BODY = frozenset({"etag", "last-modified", "accept-ranges", "content-md5", "digest"})
_PAGES = ("text/html", "application/xhtml+xml")


def discreet(headers: Headers) -> Headers:
    """Return the headers such that the page's URL is told to no other site."""
    policies = [value for name, value in headers if name.lower() == "referrer-policy"]
    # The last policy that a browser knows counts.
    said = [word.strip().lower() for value in policies for word in value.split(",")]
    if said and all(word in _DISCREET for word in said):
        return headers
    return [*_without(headers, ("referrer-policy",)), ("Referrer-Policy", "same-origin")]


def can_be_filled(status: str, headers: Headers) -> bool:
    """Say whether the body is a page, as it is written, and the whole of it."""
    if status[:1] == "3" or status[:3] in ("204", "206"):
        return False
    said = {name.lower(): value.strip().lower() for name, value in headers}
    kind, _, parameters = said.get("content-type", "").partition(";")
    if said.get("content-encoding", "identity") != "identity" or "utf-16" in parameters:
        return False
    return kind.strip() in _PAGES


def of_filled(headers: Headers, length: int | None) -> Headers:
    """Return the headers of a page that is filled; `length` is its new one, if it is known."""
    kept = discreet(_without(headers, (*_OF_THE_BODY, "content-length")))
    return kept if length is None else [*kept, ("Content-Length", str(length))]


def declared_length(headers: Headers) -> int | None:
    """Return the Content-Length."""
    for name, value in headers:
        if name.lower() == "content-length" and value.strip().isdigit():
            return int(value)
    return None


def redirected(
    status: str, headers: Headers, *, query: str, path: str, landed: bool, filler: Filler | None
) -> Headers:
    """Return the headers of a redirect within the site with what the request brought.

    A landing's own parameters go along, unless the redirect only cleans the address: adding them
    there would make a loop. Later pages take their handle along.
    """
    if not status.startswith("3"):
        return headers
    return [
        (
            name,
            _further(value, query, path, landed, filler) if name.lower() == "location" else value,
        )
        for name, value in headers
    ]


def _further(location: str, query: str, path: str, landed: bool, filler: Filler | None) -> str:
    if filler is None:
        return location
    if not landed:
        return filler.carrying(location) or location
    try:
        target = urlsplit(location)
    except ValueError:
        return location
    if not filler.leads_to_a_page(location) or target.path in ("", path):
        return location
    brought = [part for part in query.split("&") if is_click_parameter(part.partition("=")[0])]
    there = {part.partition("=")[0] for part in target.query.split("&")}
    missing = [part for part in brought if part.partition("=")[0] not in there]
    if not missing or any(is_click_parameter(name) for name in there):
        return location
    joined = "&".join(filter(None, [target.query, *missing]))
    return target._replace(query=joined).geturl()


def _without(headers: Headers, names: Iterable[str]) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in names]
