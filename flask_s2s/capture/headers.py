"""Headers of a response that has a click: who may keep it, and who is told its address. Pure.

A response that sets the cookie belongs to one visitor: it loses the headers that let a shared cache
keep it.

A response whose address has a click in it sets a Referrer-Policy: the next page of the site is told
the address, because that is how the click goes on; no other site is, nor who collects browsers'
reports. After a sign-up that was credited, no page is told any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Headers = list[tuple[str, str]]

#: Headers by which a cache in front of the app would keep the response all the same; with those
#: that end in "cache-control", the standard's one for CDNs and each vendor's own.
_CACHING = frozenset({"surrogate-control", "edge-control", "x-accel-expires", "expires", "pragma"})


def for_one_visitor(headers: Sequence[tuple[str, str]]) -> Headers:
    """Return the headers such that no shared cache keeps the response."""
    kept = [(name, value) for name, value in headers if not _lets_cache(name)]
    return [*kept, ("Cache-Control", "private, no-store")]


def _lets_cache(name: str) -> bool:
    lower = name.lower()
    return lower in _CACHING or lower.endswith("cache-control")


#: Who is sent a browser's reports: of this page, of errors of the network, or of a policy.
_COLLECTORS = frozenset({"reporting-endpoints", "report-to", "nel"})
_WITH_REPORTS = frozenset({"content-security-policy", "content-security-policy-report-only"})
#: Other policies name the group of a collector, which a browser may know from an earlier answer.
_OF_A_GROUP = re.compile(r'\s*;\s*report-to\s*=\s*(?:"[^"]*"|[^;,\s]*)', re.IGNORECASE)
_REPORTS = re.compile(r"(?:(?<=[;,])|\A)\s*report-(?:uri|to)(?=[\s;,]|\Z)[^;,]*;?", re.IGNORECASE)
_NAME = "Referrer-Policy"
#: What tells the site itself the whole address, and other sites no more than its origin.
_RIGHT = frozenset({"same-origin", "origin-when-cross-origin", "strict-origin-when-cross-origin"})
_KNOWN = _RIGHT | {
    "no-referrer",
    "origin",
    "strict-origin",
    "unsafe-url",
    "no-referrer-when-downgrade",
}
#: What tells other sites not even the origin.
_SILENT = ("no-referrer", "same-origin")


def told_to_the_site(headers: Headers, *, has_token: bool) -> Headers:
    """Return the headers of a page whose address has a click.

    A landing without a policy keeps to the browsers' own, which is right; so that older browsers tell
    no other site of a token, it goes with one.
    """
    policy = _policy(headers)
    if policy in _RIGHT or (policy is None and not has_token):
        return headers
    return [*_without(headers), (_NAME, "same-origin")]


def told_to_nobody(headers: Headers) -> Headers:
    """Return the headers after which no page is told the address of this one."""
    policy = "no-referrer" if _policy(headers) in _SILENT else "strict-origin"
    return [*_without(headers), (_NAME, policy)]


def reported_to_nobody(headers: Headers) -> Headers:
    """Return the headers of a page whose address no collector of a browser's reports is told."""
    kept = [
        (name, _unreported(name.lower(), value))
        for name, value in headers
        if name.lower() not in _COLLECTORS
    ]
    return [(name, value) for name, value in kept if value or name.lower() not in _WITH_REPORTS]


def _unreported(name: str, value: str) -> str:
    if name in _WITH_REPORTS:
        return _REPORTS.sub("", value)
    is_policy = name.endswith(("-policy", "-policy-report-only"))
    return _OF_A_GROUP.sub("", value) if is_policy else value


def _policy(headers: Headers) -> str | None:
    """Return the last policy that a browser knows: that one counts."""
    said = [value for name, value in headers if name.lower() == "referrer-policy"]
    words = [word.strip().lower() for value in said for word in value.split(",")]
    return next((word for word in reversed(words) if word in _KNOWN), None)


def _without(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name.lower() != "referrer-policy"]
