"""What `flask s2s check` looks at: configuration, database, credentials, cookie, worker, network.

Each finding says what to do. Nothing here changes anything, and nothing is sent but one GET to the
network's own address.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from .capture.domain import registrable_domain
from .delivery.watchman import SILENCE, nobody_drains
from .errors import ConfigError, S2SError, TransportError
from .networks.network import Request
from .networks.transport import is_loopback
from .services import Services
from .tokens import SANDBOX_TOKEN

_SHORT_KEY = 16
#: For how long a test record that should not be one stays an alarm.
TEST_ALARM = timedelta(days=7)

_INNODB = (
    "SELECT CONCAT('innodb_flush_log_at_trx_commit = ', @@innodb_flush_log_at_trx_commit)"
    " FROM DUAL WHERE @@innodb_flush_log_at_trx_commit <> 1"
)
#: What each database is asked for settings that let it forget a commit in a power cut.
_FORGETFUL = {
    "sqlite": "SELECT 'synchronous = ' || synchronous FROM pragma_synchronous WHERE synchronous < 2",
    "postgresql": "SELECT name || ' = ' || setting FROM pg_settings"
    " WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'off'",
    "mysql": _INNODB,
    "mariadb": _INNODB,
}


class Level(str, Enum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    ERROR = "error"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. `remedy` says what to do, where there is something to do."""

    level: Level
    subject: str
    message: str
    remedy: str = ""


def check(services: Services, *, wsgi_app: Any = None, site: str | None = None) -> list[Finding]:
    """Look at everything. `site` is the host that visitors use, if it is known."""
    findings = [*_keys(services), *_token(services), *_cookie(services, site)]
    findings += _proxy(wsgi_app)
    stored = list(_storage(services))
    findings += stored
    if all(finding.level is not Level.ERROR for finding in stored):
        findings += [*_outbox(services), *_worker(services)]
    findings += _network(services)
    return findings


def _ok(subject: str, message: str) -> Finding:
    return Finding(level=Level.OK, subject=subject, message=message)


def _note(subject: str, message: str, remedy: str) -> Finding:
    return Finding(level=Level.NOTE, subject=subject, message=message, remedy=remedy)


def _error(subject: str, message: str, remedy: str) -> Finding:
    return Finding(level=Level.ERROR, subject=subject, message=message, remedy=remedy)


def _keys(services: Services) -> Iterator[Finding]:
    newest = services.settings.secret_keys[-1]
    if len(newest) < _SHORT_KEY:
        yield _note(
            "signing key",
            f"the key that signs clicks has {len(newest)} characters",
            "Use a random one: python -c 'import secrets; print(secrets.token_hex())'.",
        )
    else:
        count = len(services.settings.secret_keys)
        yield _ok("signing key", f"{count} key(s), the newest one signs")


def _token(services: Services) -> Iterator[Finding]:
    if services.settings.dry_run:
        yield _note("token", "S2S_DRY_RUN is on: nothing is sent", "Unset it to deliver.")
    try:
        tokens = services.credentials.tokens()
    except ConfigError as error:
        yield _error("token", f"{error.key} {error.problem}", error.remedy)
        return
    count = len(tokens)
    if SANDBOX_TOKEN in tokens and not is_loopback(services.settings.partnerstack_url):
        yield _error(
            "token",
            "the sandbox's token, and the network is a live one",
            "Create a tracking token at the network, and set S2S_TOKEN to it.",
        )
    elif count == 0:
        yield _error(
            "token",
            "there is none: deliveries are held",
            "Create a tracking token at the network; set S2S_TOKEN or S2S_TOKEN_FILE.",
        )
    elif count > 1:
        yield _note(
            "token",
            f"{count} tokens: on 401 the next one is tried",
            "Make sure that they belong to one environment: a test token would take over silently.",
        )
    else:
        yield _ok("token", "set (whether it is valid shows with the first delivery)")


def _cookie(services: Services, site: str | None) -> Iterator[Finding]:
    domain = services.settings.cookie_domain
    if site is None:
        yield _note(
            "cookie",
            "the site's host is not known here",
            "Run check with --site www.example.com to check the cookie's domain.",
        )
    elif domain == "auto":
        found = registrable_domain(site)
        where = f"for {found} and its subdomains" if found else f"for {site} only"
        yield _ok("cookie", f"{services.settings.cookie_name} {where}")
    elif domain is not None and not _covers(domain.lstrip("."), site):
        yield _error(
            "cookie",
            f"S2S_COOKIE_DOMAIN is {domain}, which {site} may not set: browsers drop the cookie",
            "Set it to the site's own domain, to 'auto', or to None (host-only).",
        )
    elif domain is not None and registrable_domain(domain.lstrip(".")) is None:
        yield _error(
            "cookie",
            f"S2S_COOKIE_DOMAIN is {domain}, a public suffix: browsers drop the cookie",
            "Set it to the registrable domain, or to 'auto'.",
        )
    else:
        yield _ok("cookie", f"{services.settings.cookie_name} for {domain or site}")


def _covers(domain: str, site: str) -> bool:
    host = site.rsplit(":", 1)[0].lower()
    return host == domain.lower() or host.endswith("." + domain.lower())


def _proxy(wsgi_app: Any) -> Iterator[Finding]:
    if wsgi_app is None:
        return
    app = wsgi_app
    while app is not None:
        if type(app).__name__ == "ProxyFix":
            yield _ok("proxy", "ProxyFix is in place")
            return
        app = getattr(app, "app", None)
    yield _note(
        "proxy",
        "ProxyFix is not in place",
        "Behind a proxy that ends TLS, wrap app.wsgi_app in werkzeug's ProxyFix; otherwise the "
        "cookie is set without Secure. Without a proxy, leave it.",
    )


def _storage(services: Services) -> Iterator[Finding]:
    try:
        services.storage.prepare()
        engine = services.storage.engine()
        yield _ok("database", f"{engine.dialect.name}, tables are there")
        if services.storage.is_local() and not services.storage.shared_connection:
            with engine.connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            if mode != "wal":
                yield _note(
                    "database",
                    f"SQLite in journal mode {mode}: readers and writers wait for each other",
                    "Run `PRAGMA journal_mode=WAL` on the file once.",
                )
        yield from _durability(engine)
    except S2SError as error:
        yield _error("database", str(error), "")
    except SQLAlchemyError as error:
        yield _error(
            "database",
            f"cannot be used ({type(error).__name__})",
            "Is the server up and the URL right?",
        )


def _durability(engine: Engine) -> Iterator[Finding]:
    lost = "a power cut may cost the last commits, users and conversions alike"
    if question := _FORGETFUL.get(engine.dialect.name):
        with engine.connect() as connection:
            for setting in connection.exec_driver_sql(question).scalars():
                yield _note("database", f"{setting}: {lost}", "Let it sync every commit.")


def _outbox(services: Services) -> Iterator[Finding]:
    summary = services.summary()
    invalid = summary.counts.get("invalid", 0)
    if invalid:
        yield _error(
            "conversions",
            f"{invalid} without a usable customer key, so nothing can be sent for them",
            "`flask s2s list --status invalid` shows when; pass the key that billing uses.",
        )
    if summary.expiring:
        yield _error(
            "conversions",
            f"{summary.expiring} undelivered ones pass their deadline within days",
            "`flask s2s list --status open` says what they wait for.",
        )
    dead = summary.counts.get("refused", 0) + summary.counts.get("expired", 0)
    if dead:
        yield _note(
            "conversions",
            f"{dead} refused or expired",
            "`flask s2s list --status refused` says why; `flask s2s retry` sends them again.",
        )
    yield from _verified(services, summary.counts.get("missing", 0))
    for gate in services.gates.closed():
        yield _error(
            "conversions",
            f"{gate.lane} is held since {gate.since:%Y-%m-%d %H:%M} UTC: {gate.reason}",
            "Correct the credential; what is held goes out by itself.",
        )


def _verified(services: Services, missing: int) -> Iterator[Finding]:
    seen = services.probation.test_seen()
    if seen is not None and services.clock.now() - seen <= TEST_ALARM:
        yield _error(
            "verification",
            f"a customer came back as a test, last {seen:%Y-%m-%d %H:%M} UTC: nobody is paid for it",
            "Set S2S_TOKEN to a production token, then ask the network to move these customers.",
        )
    if missing:
        yield _error(
            "verification",
            f"{missing} accepted by the network, sent again, and still not on its record",
            "`flask s2s list --status missing` has the click IDs to ask the network with.",
        )
    if not services.verifier().able:
        yield _note(
            "verification",
            "off: nothing proves that the network has what it accepted",
            "Set S2S_PARTNERSTACK_PUBLIC_KEY and _SECRET_KEY.",
        )


def _worker(services: Services) -> Iterator[Finding]:
    summary, now = services.summary(), services.clock.now()
    seen = summary.worker_seen
    remedy = (
        "Start `flask s2s work` (with Celery: a worker and a beat), or set S2S_WORKER to embedded "
        "and send the site a request."
    )
    if nobody_drains(summary, now):
        yield _error("worker", "nothing drains: deliveries are overdue, no worker is alive", remedy)
    elif seen is None or now - seen > SILENCE:
        yield _note("worker", "none was seen in the last two minutes", remedy)
    else:
        yield _ok("worker", f"seen {(now - seen).total_seconds():.0f} s ago")


def _network(services: Services) -> Iterator[Finding]:
    url = services.settings.partnerstack_url
    host = urlsplit(url).hostname
    if is_loopback(url) and not services.settings.debug and not services.settings.testing:
        yield _error(
            "network",
            f"S2S_PARTNERSTACK_URL points at {host}: a stand-in credits nobody",
            "Unset it in production. While developing, run with --debug.",
        )
    try:
        answer = services.transport.send(Request(method="GET", url=url + "/"), seconds=10)
        yield _ok("network", f"{host} answers ({answer.status})")
    except TransportError as error:
        yield _error("network", f"{host}: {error}", "Is outgoing HTTPS allowed from here?")
    except S2SError as error:
        yield _error("network", str(error), "")
