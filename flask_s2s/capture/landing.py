"""The rules for a landing: whether a person made it, what is kept of it, and who may tell of one.

Only a person's own navigation makes a click. A prefetch, a link preview or a crawler is nobody; an
`<img>` or `<iframe>` on somebody else's page that loads a partner's link is cookie stuffing. Headers
that a browser does not send are no evidence against it. Those that it does send are, also where none of
them says what the request is for (Safari before 16.4): a picture, a style, a socket and a script's
request are told by others, a frame is not.

A site's service worker may forward the navigation: then the browser says that it is for nothing
("empty"), as of any script's request. A header that no page's script can set tells the two apart.

A page's own script may tell the site of a click where the page is of the same site. A browser says
where a request comes from, and no script can change that. Without a word of it the request is
refused: every browser that has `fetch` says it.

Kept of a landing, beside its click's row and for people to look at, are the page, its `utm_*` parameters
and the host of the page before. Where a script tells of it, the page is the script's. Other parameters may be personal, and are left out.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from ..click import MAX_QUERY, valid_host
from .cookie import registrable_domain, without_www

log = logging.getLogger("flask_s2s.capture")

#: Crawlers, link previews and mail scanners, in lower case. "bot" is matched as a word's end
#: ("Googlebot/2.1"), except CUBOT, a maker of telephones. Each alternative begins with a letter and
#: none ignores case: so the search goes from one possible beginning to the next, and does not try
#: forty words at every character, which took a fifth of a landing.
_ROBOT = (
    r"bot(?<!cubot)(?:\b|[/_;-])|crawl|spider|slurp|facebookexternalhit|facebookcatalog"
    r"|meta-external|whatsapp/|skypeuripreview|embedly|outbrain|pinterest/0|vkshare|w3c_validator"
    r"|quora link|google-(?:read-aloud|inspectiontool|safety|pagerenderer)|mediapartners-google"
    r"|feedfetcher|bingpreview|yandeximages|ia_archiver|lighthouse|gtmetrix|pingdom|uptimerobot"
    r"|statuscake|iframely|link ?preview|url ?preview|microsoft ?preview|cardyb|mastodon/"
    r"|barracuda|proofpoint|mimecast"
)

#: Office looks at a link before it opens it in a browser. Its own windows, and those of Outlook, are
#: browsers that name their engine.
_OFFICE = re.compile(r"microsoft office|ms-office")
_ENGINE = re.compile(r"trident/|applewebkit/|gecko/")

#: Where browsers say that nobody looks yet: the standard, and what older ones send.
_PURPOSES = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")
_EARLY = re.compile("prefetch|prerender|preview", re.IGNORECASE)


def ignored_because(
    environ: Mapping[str, Any],
    destination: str = "document",
    robots: Callable[[str], object] | None = None,
) -> str | None:
    """Return why this request must not make a click, or None when it may.

    `destination` is what the browser must say that it is for, if it says so; `robots` the site's own
    word on who is one (`S2S_ROBOTS`).
    """
    if environ.get("REQUEST_METHOD") != "GET":
        return "not_get"
    if any(_EARLY.search(environ.get(header, "")) for header in _PURPOSES):
        return "prefetch"
    said = environ.get("HTTP_SEC_FETCH_DEST")
    if said is None:
        if destination == "document" and _opens_no_page(environ):
            return "not_navigation"
    elif said != destination and not (said == "empty" and _is_forwarded(environ)):
        return "not_navigation"
    agent = environ.get("HTTP_USER_AGENT", "")[:1024]
    if _is_robot(agent.lower()):
        return "robot"
    try:
        return "robot" if robots is not None and robots(agent) else None
    except Exception:
        log.exception("s2s.robots.failed", extra={"action": "robots.failed"})
        return None


def _opens_no_page(environ: Mapping[str, Any]) -> bool:
    """Say whether a request is something else's, by what browsers have sent before `Sec-Fetch-Dest`."""
    if environ.get("HTTP_UPGRADE", "").lower() == "websocket":
        return True
    accepts = environ.get("HTTP_ACCEPT", "")
    if "text/html" in accepts:
        return False
    return "image/*" in accepts or "text/css" in accepts or "HTTP_ORIGIN" in environ


def _is_forwarded(environ: Mapping[str, Any]) -> bool:
    """Say whether a service worker of the site forwards the navigation of a page.

    It does so as it is (`fetch(event.request)`), or with options, which makes a request of its own
    that keeps the navigation's headers. One for the bare address says nothing of what it is for: that
    may be a picture. A frame of another site says that it has no access to the site's cookies.
    """
    mode = environ.get("HTTP_SEC_FETCH_MODE")
    if mode == "navigate":
        return "HTTP_SEC_FETCH_STORAGE_ACCESS" not in environ
    own = mode == "same-origin" == environ.get("HTTP_SEC_FETCH_SITE")
    return own and environ.get("HTTP_UPGRADE_INSECURE_REQUESTS") == "1"


def _is_robot(agent: str) -> bool:
    if _OFFICE.search(agent) and not _ENGINE.search(agent):
        return True
    return _robot().search(agent) is not None


@cache
def _robot() -> re.Pattern[str]:
    return re.compile(_ROBOT)


def refused_because(
    *,
    scheme: str,
    host: str,
    origin: str | None,
    came_from: str | None,
    whole_domain: bool,
    allowed: Collection[str] | None,
) -> str | None:
    """Return why this caller is refused, or None.

    `origin` and `came_from` are the headers Origin and Sec-Fetch-Site; `allowed` are the origins
    that the site has named, which must be of its domain all the same. Where the cookie is not for
    the whole domain, its other hosts may be other people's, so they have to be named.
    """
    if came_from not in (None, "same-origin", "same-site"):
        return "cross_site"
    if origin is None:
        return None if came_from == "same-origin" else "no_origin"
    if origin == f"{scheme}://{host}":
        return None
    try:
        said = urlsplit(origin)
    except ValueError:
        return "bad_origin"
    if said.scheme not in ("http", "https") or origin != f"{said.scheme}://{said.netloc}":
        return "bad_origin"
    if scheme == "https" and said.scheme == "http":
        return "insecure"
    domain = registrable_domain(host)
    if domain is None or registrable_domain(said.netloc) != domain:
        return "cross_site"
    named = allowed is not None and origin in allowed
    ours = allowed is None and (whole_domain or without_www(said.netloc) == without_www(host))
    return None if named or ours else "not_allowed"


#: The longest that is kept of an address and of a parameter's value, in characters.
_ADDRESS, _VALUE = 512, 200
#: How many parameters, and how many bytes of them all in a row: JSON writes most letters in six.
_MOST, _BYTES = 10, 2048
_NAME = re.compile(r"utm_[a-z0-9_]{1,28}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def kept_of(environ: Mapping[str, Any], query: str, referer: str) -> dict[str, Any]:
    """Return what is kept of a landing, whose address and page before came as these.

    The page is a host and a path: a scheme would be that of the last proxy. The page before is told
    where it is another host's.
    """
    utm, host = _utm(query), environ.get("HTTP_HOST", "").lower()
    before = _host_of(referer)
    page = None
    if valid_host(host):
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}" or "/"
        page = _page(host, path.encode("latin-1", "replace"))
    return {"page": page, "utm": utm, "referrer": before if before != host else None}


def told_of(environ: Mapping[str, Any], query: str, referer: str) -> dict[str, Any]:
    """Return the same of a landing that a page's script tells of: there the page before is its page.

    A browser names the caller's origin, but for a page of the very host. Where it tells another host
    no more than that origin, the page is that host, without a path.
    """
    own, origin = environ.get("HTTP_HOST", "").lower(), environ.get("HTTP_ORIGIN")
    caller, host = own if origin is None else _host_of(origin), _host_of(referer)
    page = None
    if host is not None and host == caller:
        said = urlsplit(referer[:MAX_QUERY])
        is_origin = host != own and said.path in ("", "/") and not said.query
        path = unquote_to_bytes(said.path.encode("latin-1", "replace")) or b"/"
        page = host if is_origin else _page(host, path)
    return {"page": page, "utm": _utm(query), "referrer": None}


def _page(host: str, path: bytes) -> str:
    return f"{host}{quote(path)}"[:_ADDRESS]


def _host_of(address: str) -> str | None:
    if not address:
        return None
    try:
        host = urlsplit(address[:MAX_QUERY]).netloc.lower()
    except ValueError:
        return None
    return host if valid_host(host) else None


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
