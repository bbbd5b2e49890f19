"""The installation: its settings, its database, and the way to the network.

What `flask s2s check` alone looks at; what changes from hour to hour is in `deliveries` and `clicks`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ...capture.cookie import registrable_domain
from ...config.parsing import RANDOM_KEY, SANDBOX_TOKEN, SHORTEST_KEY, is_loopback
from ...errors import ConfigError, S2SError, TransportError
from ...networks.http import way_to
from ...networks.messages import Request, Secret
from ...networks.network import Lane
from ...services import Services
from ...store.dialects.engines import in_memory, is_local, journal_mode, name_of
from ...store.dialects.errors import own_words
from ...store.dialects.servers import forgetful_settings, is_pooled, prepares
from .findings import Finding

#: What platforms whose disks last as long as a process set: Heroku, Cloud Run, Lambda, Vercel.
_FLEETING = ("DYNO", "K_SERVICE", "AWS_LAMBDA_FUNCTION_NAME", "VERCEL")
_RELEASE = re.compile(r"/releases?/[^/]*\d[^/]*/")
_UNREACHED = (
    "Is outgoing HTTPS allowed from here? A proxy is named by S2S_PROXY, a CA of your own by"
    " S2S_CA_BUNDLE."
)


def configuration(services: Services, wsgi_app: Any, site: str | None) -> Iterator[Finding]:
    """Look at the keys, the token, the cookie of this site, and what wraps the app: all in memory."""
    yield from _signing_keys(services)
    yield from _token(services)
    yield from _cookie(services, site)
    yield from _tenants(services)
    yield from _addresses(services)
    yield from _proxy(wsgi_app)


def _signing_keys(services: Services) -> Iterator[Finding]:
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


def _addresses(services: Services) -> Iterator[Finding]:
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


def database(services: Services) -> Iterator[Finding]:
    """Look at the tables, which are made where the file is ours, and at the settings."""
    try:
        services.storage.prepare()
        engine = services.storage.engine()
        yield Finding.ok("database", f"{name_of(engine)}, tables are there")
        if services.storage.is_local() and not services.storage.shared_connection:
            with engine.connect() as connection:
                mode = journal_mode(connection)
            if mode != "wal":
                yield Finding.note(
                    "database",
                    f"SQLite in journal mode {mode}: readers and writers wait for each other",
                    "Run `PRAGMA journal_mode=WAL` on the file once.",
                )
        yield from _throwaway(engine)
        yield from _durability(engine)
        yield from _identity_keys(services)
        yield from _pooler(engine)
    except S2SError as error:
        yield Finding.error("database", str(error), "")
    except SQLAlchemyError as error:
        yield Finding.error(
            "database",
            f"cannot be used ({own_words(error)})",
            "Is the server up and the URL right?",
        )


def _throwaway(engine: Engine) -> Iterator[Finding]:
    """Warn where the outbox is a file that the next deploy, or the next start, throws away."""
    name = engine.url.database
    if not is_local(engine) or in_memory(engine.url) or name is None:
        return
    if why := thrown_away(Path(name).absolute(), os.environ):
        yield Finding.note(
            "database",
            f"the outbox is the file {name}: {why}, and what is still to be sent would go with it",
            "Set S2S_DATABASE_URI to a database that is kept, or to a file on a volume.",
        )


def thrown_away(file: Path, environ: Mapping[str, str], root: Path = Path("/")) -> str | None:
    """Say why a file does not outlive a deploy, as far as its place and the process tell."""
    if any(name in environ for name in _FLEETING):
        return "this platform's disk is a new one with each start"
    if file.is_relative_to(gettempdir()) or file.is_relative_to("/run"):
        return "that folder is emptied"
    if _RELEASE.search(file.as_posix()):
        return "each release has a folder of its own"
    if within_container(file, root):
        return "it is in the container, and not on a volume"
    return None


def within_container(file: Path, root: Path) -> bool:
    """Say whether this is a container, and the file is in it and not on a volume."""
    marks = (root / mark for mark in (".dockerenv", "run/.containerenv"))
    return any(mark.exists() for mark in marks) and _device(file) == _device(root)


def _device(path: Path) -> int:
    there = next(one for one in (path, *path.parents) if one.exists())
    return there.stat().st_dev


def _pooler(engine: Engine) -> Iterator[Finding]:
    with engine.connect() as connection:
        if not is_pooled(connection):
            return
        prepared = prepares(connection)
    if prepared:
        yield Finding.error(
            "pooler",
            "a pooler stands before PostgreSQL and psycopg prepares statements: between two"
            " transactions the server changes, and a sign-up fails with the app's own statement",
            'Give the app\'s engine connect_args={"prepare_threshold": None}.',
        )
    yield Finding.note(
        "pooler",
        "a pooler stands before PostgreSQL: `flask s2s work` polls, since nothing can wake it",
        "For the worker, set S2S_DATABASE_URI to the server itself.",
    )


def _identity_keys(services: Services) -> Iterator[Finding]:
    """Look whether the site's secret opens the keys that hash people."""
    services.outbox.keyring.prepare()
    keys, shut = services.outbox.keyring.count()
    if shut:
        yield Finding.error(
            "identity keys",
            f"no secret of this site opens {shut} of {keys}: who was bound before is not found, nor"
            " who asks to be forgotten by an e-mail address",
            "Add the old secret to S2S_SECRET_KEY or SECRET_KEY_FALLBACKS until they are wrapped anew"
            " (this command does it); if it is lost, docs/privacy.md says how to begin anew.",
        )
    else:
        yield Finding.ok("identity keys", f"{keys}, wrapped by the site's newest key")


def _durability(engine: Engine) -> Iterator[Finding]:
    with engine.connect() as connection:
        settings = forgetful_settings(connection)
    for setting, damaging in settings.items():
        lost = (
            "may damage the whole database"
            if damaging
            else "may cost the last commits, users and conversions alike"
        )
        message = f"{setting}: a power cut {lost}"
        yield Finding.note("database", message, "Let it sync every commit.")


def network(services: Services, *, proved: bool = False) -> Iterator[Finding]:
    """Say whether the network answers, and whether it is one that credits.

    `proved`: it has accepted something from here, so its address is right.
    """
    for one in services.networks.values():
        yield from _answers(services, next(iter(one.lanes.values())), proved=proved)


def _answers(services: Services, lane: Lane, *, proved: bool) -> Iterator[Finding]:
    url = lane.base_url
    host = urlsplit(url).hostname
    if is_loopback(url) and not services.settings.debug and not services.settings.testing:
        yield Finding.error(
            "network",
            f"{lane.address} points at {host}: a stand-in credits nobody",
            "Unset it in production. While developing, run with --debug.",
        )
    settings = services.settings
    way = way_to(
        url, proxy=settings.proxy, ca_bundle=settings.ca_bundle, trust_env=settings.trust_env
    )
    asked = f"{host} {way}".strip()
    try:
        answer = services.transport.send(Request(method="GET", url=url + "/"), seconds=10)
        found = f"{asked} answers ({answer.status})"
        if answer.status == 404 and not proved:
            remedy = (
                f"It shows that a server is there. Whether the path of {lane.address} is right,"
                " the first delivery tells: `flask s2s status`."
            )
            yield Finding.note("network", found, remedy, "network_404")
        else:
            yield Finding.ok("network", found)
    except TransportError as error:
        yield Finding.error("network", f"{asked}: {error}", _UNREACHED)
    except S2SError as error:
        yield Finding.error("network", str(error), "")
