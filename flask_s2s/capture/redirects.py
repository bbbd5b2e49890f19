"""Redirects: a landing's parameters go on with its visitor, and to nobody else. Pure.

A site redirects a landing to its other host, to https, to the slash or to a language, and most of
them forget the query string there: a visitor who keeps no cookie would lose the click, and one who
does where the cookie is the other host's. So a landing's own parameters go along to every page that
shares the cookie. Nothing goes to anybody else, nor to where a log-in of others begins. A click token
needs no such help: a browser keeps the address of the page before over a redirect.

An app that means to clean its address is not undone: a redirect to the same URL stays. One that
cleans it on the way to another URL gets the parameters a few times, counted in the URL itself
because nothing else is known to come back: so it can make no loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote_plus, unquote_to_bytes, urljoin, urlsplit

from ..click import MAX_QUERY
from ..click.formats import Clicks
from .cookie import registrable_domain, without_www
from .headers import Headers
from .token import PARAMETER as TOKEN

#: Counts the redirects that were given the parameters.
PARAMETER = "s2s_hop"
#: The slash, the host, https and a language, each by a redirect of its own, and a page to begin at.
MOST = 5
#: More than this in characters, and the sub IDs stay behind: servers refuse a long request line.
_LONG = 2000
#: Signs of OAuth, OpenID Connect and SAML.
_LOG_IN = frozenset(
    {
        "client_id",
        "id_token_hint",
        "post_logout_redirect_uri",
        "redirect_uri",
        "relaystate",
        "response_type",
        "samlrequest",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The URL that is answered with a redirect, as WSGI gives it."""

    scheme: str
    host: str
    path: str
    query: str

    def resolve(self, location: str) -> SplitResult:
        """Return what a browser makes of a Location. Raises ValueError."""
        path = quote(self.path.encode("latin-1"))
        return urlsplit(urljoin(f"{self.scheme}://{self.host}{path or '/'}", location))

    def is_at(self, url: SplitResult) -> bool:
        """Say whether `url` is this one but for its query string."""
        same = (url.scheme, url.netloc.lower()) == (self.scheme, self.host.lower())
        return same and unquote_to_bytes(url.path or "/") == (self.path or "/").encode("latin-1")


def redirected(headers: Headers, asked: Asked, formats: Clicks, *, whole_domain: bool) -> Headers:
    """Return the headers of a landing's redirect, with the landing's own parameters.

    `whole_domain` says that the cookie is for every host of the registrable domain.
    """

    def further(location: str) -> str:
        try:
            url = asked.resolve(location)
        except ValueError:
            return location
        if _begins_a_log_in(url):
            return location
        return _with_parameters(location, url, asked, formats, whole_domain)

    return [(n, further(v) if n.lower() == "location" else v) for n, v in headers]


def lands_secure(headers: Headers, asked: Asked, formats: Clicks) -> bool:
    """Say whether the same click lands again at once, by https: the cookie is set there.

    Set here it would be without `Secure`, and the landing that follows is of a click that is kept.
    """
    if asked.scheme == "https":
        return False
    try:
        urls = [asked.resolve(v) for name, v in headers if name.lower() == "location"]
    except ValueError:
        return False
    return any(
        url.scheme == "https"
        and url.hostname == asked.host.partition(":")[0].lower()
        and any(formats.is_click_id(_name(part)) for part in _parts(url.query))
        for url in urls
    )


def cleaned(path: str, query: str, token: str | None, formats: Clicks) -> str | None:
    """Return the address of the same page without the click; all else stays byte for byte.

    With `token`, it goes along. None: the address cannot be written so.
    """
    if len(query) > MAX_QUERY or not (query.isascii() and query.isprintable()):
        return None
    kept = [part for part in query.split("&") if not _is_ours(part, formats)]
    if token is not None:
        kept.append(f"{TOKEN}={token}")
    return same_page(path, "&".join(kept))


def same_page(path: str, query: str) -> str:
    """Return the reference to the page at `path` with another query string.

    By a query string alone it is the same page whatever its path is, and whatever a proxy has made of
    it. Without one, a path of one part is named, because a lone "?" would stand in the address.
    """
    name = quote(path.rpartition("/")[2].encode("latin-1"))
    if query or path.count("/") > 1 or name in (".", ".."):
        return f"?{query}"
    return f"./{name}"


def _is_ours(part: str, formats: Clicks) -> bool:
    name = unquote_plus(_name(part), errors="replace").removeprefix("amp;")
    ours = name in (TOKEN, PARAMETER) or formats.is_click_id(name.lower())
    return ours or formats.is_parameter(name)


def _with_parameters(
    location: str, url: SplitResult, asked: Asked, formats: Clicks, whole_domain: bool
) -> str:
    if "\\" in location or asked.is_at(url) or not _shares(url, asked.host, whole_domain):
        return location
    hops, there = _hops(asked.query), {_name(part) for part in _parts(url.query)}
    if hops >= MOST or any(formats.is_click_id(name) for name in there):
        return location
    brought = [part for part in _parts(asked.query) if formats.is_parameter(_name(part))]
    if sum(map(len, brought)) > _LONG:
        brought = [part for part in brought if not formats.is_sub_id(_name(part))]
    missing = [p for p in brought if p.isascii() and p.isprintable() and _name(p) not in there]
    if not missing:
        return location
    front, hash_, fragment = location.partition("#")
    front, _, query = front.partition("?")
    kept = [part for part in _parts(query) if _name(part) != PARAMETER]
    joined = "&".join([*kept, *missing, f"{PARAMETER}={hops + 1}"])
    return f"{front}?{joined}{hash_}{fragment}"


def _shares(url: SplitResult, host: str, whole_domain: bool) -> bool:
    """Say whether the click may be told to this host: it is one site with ours."""
    if url.scheme not in ("http", "https"):
        return False
    there, here = url.netloc.lower(), host.lower()
    if there == here:
        return True
    domain = registrable_domain(here)
    if domain is None or registrable_domain(there) != domain:
        return False
    return whole_domain or without_www(there) == without_www(here)


def _begins_a_log_in(url: SplitResult) -> bool:
    return any(_name(part).lower() in _LOG_IN for part in _parts(url.query))


def _hops(query: str) -> int:
    for part in _parts(query):
        name, _, value = part.partition("=")
        if name == PARAMETER:
            return int(value) if len(value) == 1 and value in "0123456789" else MOST
    return 0


def _parts(query: str) -> list[str]:
    return [part for part in query.split("&") if part]


def _name(part: str) -> str:
    return part.partition("=")[0]
