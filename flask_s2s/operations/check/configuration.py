"""The settings, and how the app is put together: nothing outside of memory is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...capture.cookie import registrable_domain
from ...config.parsing import RANDOM_KEY, SANDBOX_TOKEN, SHORTEST_KEY, is_loopback
from ...errors import ConfigError
from ...networks.messages import Secret
from ...networks.network import Lane
from ...services import Services
from .findings import Finding


def look(services: Services, wsgi_app: Any, site: str | None) -> Iterator[Finding]:
    """Look at the keys, the token, the cookie of this site, and what wraps the app."""
    yield from _keys(services)
    yield from _token(services)
    yield from _cookie(services, site)
    yield from _tenants(services)
    yield from _address(services)
    yield from _proxy(wsgi_app)


def _keys(services: Services) -> Iterator[Finding]:
    shortest = services.settings.shortest_key
    if shortest < SHORTEST_KEY:
        yield Finding.error(
            "signing key",
            f"a key that clicks are signed with has {shortest} characters, and they could be forged",
            RANDOM_KEY,
        )
    else:
        count = len(services.settings.secret_keys)
        several = f"{count} keys, the newest one signs"
        yield Finding.ok("signing key", "one key" if count == 1 else several)


def _token(services: Services) -> Iterator[Finding]:
    for network in services.networks.values():
        several = f"{network.name}: " if len(services.networks) > 1 else ""
        yield from _credential(services, next(iter(network.lanes.values())), several)


def _credential(services: Services, lane: Lane, several: str) -> Iterator[Finding]:
    """Look at what opens a network's first lane, by which sign-ups go."""
    what = lane.credential
    try:
        found = services.credentials.for_lane(lane.name)
    except ConfigError as error:
        yield Finding.error(what, f"{several}{error.key} {error.problem}", error.remedy)
        return
    count = len(found)
    if Secret(SANDBOX_TOKEN) in found and not is_loopback(lane.base_url):
        yield Finding.error(
            what,
            f"{several}the sandbox's, and the network is a live one",
            f"Create one at the network, and set {lane.key} to it.",
        )
    elif count == 0:
        yield Finding.error(
            what,
            f"{several}there is none: deliveries are held",
            f"Create one at the network; set {lane.settings}.",
        )
    elif count > 1:
        yield Finding.note(
            what,
            f"{several}{count} {what}s: on 401 the next one is tried",
            "Make sure that they belong to one environment: a test token would take over silently.",
        )
    else:
        yield Finding.ok(
            what, f"{several}set (whether it is valid, deliveries tell: `flask s2s status`)"
        )


def _cookie(services: Services, site: str | None) -> Iterator[Finding]:
    domain = services.settings.cookie_domain
    if site is None:
        yield Finding.note(
            "cookie",
            "the site's host is not known here",
            "`flask s2s check --site www.example.com` checks the cookie's domain.",
        )
    elif domain == "auto":
        found = registrable_domain(site)
        where = f"for {found} and its subdomains" if found else f"for {site} only"
        yield Finding.ok("cookie", f"{services.settings.cookie_name} {where}")
    elif domain is not None and not _covers(domain.lstrip("."), site):
        yield Finding.error(
            "cookie",
            f"S2S_COOKIE_DOMAIN is {domain}, which {site} may not set: browsers drop the cookie",
            "Set it to the site's own domain, to 'auto', or to None (host-only).",
        )
    elif domain is not None and registrable_domain(domain.lstrip(".")) is None:
        yield Finding.error(
            "cookie",
            f"S2S_COOKIE_DOMAIN is {domain}, a public suffix: browsers drop the cookie",
            "Set it to the registrable domain, or to 'auto'.",
        )
    else:
        yield Finding.ok("cookie", f"{services.settings.cookie_name} for {domain or site}")


def _covers(domain: str, site: str) -> bool:
    host = site.rsplit(":", 1)[0].lower()
    return host == domain.lower() or host.endswith("." + domain.lower())


def _tenants(services: Services) -> Iterator[Finding]:
    """Look for hosts of other people's under the site's domain, as far as its routes tell."""
    url_map = getattr(services.sender, "url_map", None)
    settings = services.settings
    if url_map is None or settings.cookie_domain is None:
        return
    where = sorted({rule.host or rule.subdomain or "" for rule in url_map.iter_rules()})
    tenants = [place for place in where if "<" in place]
    if tenants:
        yield Finding.note(
            "tenants",
            f"{tenants[0]!r} is a host for each tenant, and all of them share the cookie: a tenant's"
            " page can give a visitor a click of its own",
            "Set S2S_COOKIE_DOMAIN to None; with S2S_COOKIE_NAME = '__Host-s2s' (https only) browsers"
            " also refuse a cookie that another host sets for the whole domain.",
        )
    else:
        yield Finding.ok(
            "tenants", "no route has one (what others serve under the domain is not seen from here)"
        )


def _address(services: Services) -> Iterator[Finding]:
    settings = services.settings
    if settings.strip_params and services.visitors.asks:
        yield Finding.note(
            "address",
            "S2S_STRIP_PARAMS does nothing on a site that asks for consent: before the visitor's"
            " answer the click is nowhere but in the address",
            "Leave it out, or clean the address in the page once the visitor has agreed.",
        )


def _proxy(wsgi_app: Any) -> Iterator[Finding]:
    if wsgi_app is None:
        return
    app = wsgi_app
    while app is not None:
        if type(app).__name__ == "ProxyFix":
            yield Finding.ok("proxy", "ProxyFix is in place")
            return
        app = getattr(getattr(app, "__self__", app), "app", None)
    yield Finding.note(
        "proxy",
        "ProxyFix is not in place",
        "Behind a proxy that ends TLS, wrap app.wsgi_app in werkzeug's ProxyFix; otherwise the "
        "cookie is set without Secure. Without a proxy, leave it.",
    )
