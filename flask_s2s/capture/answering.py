"""What the response to a visit with a click says: its headers. Pure.

A response that sets the cookie or has a handle in it belongs to one visitor: it is `private,
no-store` whatever the view decided. A page whose URL has a handle tells that URL to no other site.
"""

from __future__ import annotations

from collections.abc import Iterable

from .cookie import Headers

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


def _without(headers: Headers, names: Iterable[str]) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in names]
