"""Settings: `app.config`, or any mapping, becomes an immutable `Settings`, once.

`None` means unset. A key that starts with `S2S_` and is not known is a typing mistake, and a typing
mistake here loses conversions: it is refused, with the nearest name.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta, timezone, tzinfo
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigError
from .builtin import built_in
from .parsing import (
    RANDOM_KEY,
    SHORTEST_KEY,
    boolean,
    choice,
    cookie_domain,
    cookie_name,
    customers,
    function,
    integer,
    lease,
    number,
    options,
    proxy,
    record_wait,
    rule,
    secret_of,
    span,
    text,
    window,
    zone,
)
from .parsing import TokenSource as TokenSource
from .setting import PREFIX, Declared, Setting

#: Given the WSGI environ, what the visitor has said.
Consent = Callable[[dict[str, Any]], str]
#: Given a User-Agent, whether it is a robot's.
Robots = Callable[[str], bool]
#: Given a conversion, its click and the facts about both, None or why it must not be credited.
Rule = Callable[[Any, Any, Any], "str | None"]

log = logging.getLogger("flask_s2s")


def _own(networks: Iterable[type[Declared]]) -> dict[str, Any]:
    """Return the defaults of networks' settings that are no fields of `Settings`."""
    declared = (one for one in _declared(networks) if one.attribute not in _fields())
    return {one.attribute: one.default for one in declared}


def _defaults() -> dict[str, Any]:
    return _own(built_in())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of one app. `docs/settings.md` has the same list for people."""

    #: Keys that sign the record, oldest first; the last one signs.
    secret_keys: tuple[str | bytes, ...] = field(repr=False)
    #: Tracking tokens in the order of trying; None holds deliveries until there is one.
    token: TokenSource | None = field(default=None, repr=False)
    #: File with one token a line, read again when it changes.
    token_file: str | None = None
    #: The networks' own settings, by attribute: `settings.<network>_url` has one of them.
    own: Mapping[str, Any] = field(default_factory=_defaults, repr=False)
    #: The proxy that requests to networks go through; None: none.
    proxy: str | None = field(default=None, repr=False)
    #: File (or folder) of the CAs that a network's, or the proxy's, certificate is checked with.
    ca_bundle: str | None = None
    #: Whether HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE of the environment count.
    trust_env: bool = False
    #: SQLAlchemy URL of the outbox; None: the app's own database, else a file in the instance folder.
    database_uri: str | None = field(default=None, repr=False)
    #: Options of SQLAlchemy's `create_engine` for the engine that `database_uri` makes.
    database_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: The schema that the tables are in; None: the database's default.
    schema: str | None = None
    #: Attribution window.
    window: timedelta = timedelta(days=90)
    #: Networks with a window of their own.
    windows: Mapping[str, timedelta] = field(default_factory=dict)
    #: Which click wins.
    attribution: Literal["last", "first"] = "last"
    cookie_name: str = "s2s"
    #: "auto" (registrable domain), None (host-only) or a domain.
    cookie_domain: str | None = "auto"
    #: Whether a click goes from page to page while no cookie comes back: "auto" or "off".
    carry: Literal["auto", "off"] = "auto"
    #: Answer a landing with a redirect to the same URL without the click's parameters.
    strip_params: bool = False
    #: Keep the landing's page, its `utm_*` and the host before with the click's row.
    keep_landing: bool = True
    #: Read the cookies of the network's own script where there is no click of ours.
    script_cookies: bool = True
    #: Called with a landing's User-Agent: whether it is a robot's, beside those that are known here.
    robots: Robots | None = field(default=None, repr=False)
    #: Called with the WSGI environ: "granted", "pending" or "denied"; None: granted.
    consent: Consent | None = field(default=None, repr=False)
    #: What Global Privacy Control (`Sec-GPC: 1`) means: "ignore" it, or "deny" consent.
    gpc: Literal["ignore", "deny"] = "ignore"
    #: Which bindings of `identify` credit: "limited" (some of those that nobody proved) or "verified".
    identify: Literal["limited", "verified"] = "limited"
    #: The advertiser's own rule: None, or why not to credit. It may leave out the third argument.
    rule: Rule | None = field(default=None, repr=False)
    #: What becomes of a sign-up whose rule failed: "credit", or "review" (somebody decides by hand).
    rule_error: Literal["credit", "review"] = "credit"
    #: The advertiser's own sign-ups, for `reconcile` and `backfill`: a query with `:since`, or a
    #: function that is given it.
    customers: Callable[..., Any] | str | None = field(default=None, repr=False)
    #: The zone of the days of reports, and of the times on the dashboard.
    report_zone: tzinfo = timezone.utc
    #: New click rows a second and process; beyond it the click lives in the cookie only.
    click_rate: float = 100.0
    #: New click rows a day in the database; beyond it the click lives in the cookie only.
    click_day: int = 100_000
    #: "embedded": a thread of the web process delivers. "external": `flask s2s work` does.
    worker: Literal["embedded", "external"] = "embedded"
    #: The most that a page waits for a report that is a transaction of our own.
    record_wait: timedelta = timedelta(seconds=2)
    #: Deliveries in flight at once in one worker.
    concurrency: int = 8
    #: Deliveries a second that one worker sends at most; None: as fast as it goes.
    rate: float | None = None
    #: Within this, what a killed worker had in its hands is taken up again.
    lease: timedelta = timedelta(seconds=60)
    #: How long after the conversion at least a delivery is tried.
    give_up: timedelta = timedelta(days=30)
    send_pii: Literal["plain", "hash", "omit"] = "plain"
    send_client: bool = False
    dry_run: bool = False
    #: Says whether it is a test now: a site's tests may set TESTING after its factory.
    is_testing: Callable[[], bool] = field(default=bool, compare=False, repr=False)
    debug: bool = False

    @classmethod
    def from_mapping(
        cls, config: Mapping[str, Any], networks: Iterable[type[Declared]] = ()
    ) -> Settings:
        """Read `config` (a Flask config or any mapping). Raises `ConfigError`.

        `networks` are those beside the built-in ones, whose settings are read too.
        """
        every = (*built_in(), *networks)
        known = keys(every)
        _refuse_unknown(config, known)
        own = _own(every)
        values: dict[str, Any] = {"secret_keys": _secret_keys(config), "own": own}
        for key, (name, parse) in known.items():
            raw = config.get(key)
            if raw is not None:
                (values if name in _fields() else own)[name] = parse(key, raw)
        if "S2S_COOKIE_DOMAIN" in config and config["S2S_COOKIE_DOMAIN"] is None:
            values["cookie_domain"] = None
        values["is_testing"] = lambda: bool(config.get("TESTING"))
        values["debug"] = bool(config.get("DEBUG"))
        if isinstance(windows := values.get("window"), dict):
            values["windows"] = windows
            del values["window"]
        settings = cls(**values)
        _check_together(settings)
        _check_cookie(settings, config)
        _check_secrecy(settings, config)
        for network in every:
            network.check(settings.of(network), testing=settings.testing)
        return settings

    def of(self, network: type[Declared]) -> dict[str, Any]:
        """Return the settings that a network has declared, by their keys: nobody else's."""
        return {
            one.key: getattr(self, one.attribute)
            if one.attribute in _fields()
            else self.own.get(one.attribute, one.default)
            for one in network.settings
        }

    @property
    def testing(self) -> bool:
        """From Flask: under TESTING no thread starts and a live host is refused."""
        return self.is_testing()

    @property
    def production(self) -> bool:
        """Whether nobody is developing or testing, who wants to see mistakes at once."""
        return not (self.debug or self.testing)

    def unless_testing(self, act: Callable[[], None]) -> Callable[[], None]:
        """Return the same, which does nothing under TESTING."""

        def act_in_earnest() -> None:
            if not self.testing:
                act()

        return act_in_earnest

    if not TYPE_CHECKING:  # of a class that a checker knows, a mistyped name is to be refused

        def __getattr__(self, name: str) -> Any:
            if name != "own" and name in self.own:
                return self.own[name]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def shortest_key(self) -> int:
        """How many characters the shortest of the signing keys has: a click signed by it counts."""
        keys: tuple[Any, ...] = self.secret_keys
        return min((len(key) for key in keys if isinstance(key, str | bytes)), default=0)

    def tell_of_short_key(self) -> None:
        """Say, once an app is built, that its clicks could be forged."""
        if self.shortest_key < SHORTEST_KEY:
            log.warning(
                "s2s.secret_key.short: clicks are signed with a key of %d characters, and could be "
                "forged. %s",
                self.shortest_key,
                RANDOM_KEY,
                extra={"action": "secret_key.short"},
            )

    def window_of(self, network: str) -> timedelta:
        """Return how long a click of this network counts."""
        return self.windows.get(network, self.window)

    @property
    def attempt(self) -> timedelta:
        """How long one attempt may take, and one look into the network's records.

        Three of them fit into the three quarters of a lease that a worker holds a delivery for: a
        payment may need two looks before it goes.
        """
        return self.lease / 4

    @property
    def longest_window(self) -> timedelta:
        """How long a click of any network may count."""
        return max([self.window, *self.windows.values()])


def _check_together(settings: Settings) -> None:
    if settings.database_options and settings.database_uri is None:
        raise ConfigError(
            "S2S_DATABASE_OPTIONS",
            "is set without S2S_DATABASE_URI: the app's own engine keeps the app's options",
            "Set S2S_DATABASE_URI too, or give the options where the app makes its engine.",
        )
    if settings.cookie_name.startswith("__Host-") and settings.cookie_domain is not None:
        raise ConfigError(
            "S2S_COOKIE_NAME",
            "begins with __Host-, and browsers refuse such a cookie with a domain",
            "Set S2S_COOKIE_DOMAIN to None as well.",
        )


#: The names of cookies that Flask and Flask-Login set.
_COOKIES = {"SESSION_COOKIE_NAME": "session", "REMEMBER_COOKIE_NAME": "remember_token"}


def _check_cookie(settings: Settings, config: Mapping[str, Any]) -> None:
    """Refuse a name that is another cookie's: one of the two would end the other."""
    for key, usual in _COOKIES.items():
        if settings.cookie_name == (config.get(key) or usual):
            raise ConfigError(
                "S2S_COOKIE_NAME", f"is the name of the app's own cookie ({key})", "Change one."
            )


def _check_secrecy(settings: Settings, config: Mapping[str, Any]) -> None:
    """Refuse what gives a secret away outside of tests."""
    own_key = config.get("S2S_SECRET_KEY") is not None
    if (
        own_key
        and settings.shortest_key < SHORTEST_KEY
        and not (settings.testing or settings.debug)
    ):
        problem = f"has a key of {settings.shortest_key} characters, and clicks could be forged"
        raise ConfigError("S2S_SECRET_KEY", problem, RANDOM_KEY)


def _refuse_unknown(config: Mapping[str, Any], known: Mapping[str, object]) -> None:
    for key in config:
        if key.startswith(PREFIX) and key not in known and key != "S2S_SECRET_KEY":
            # Without the prefix, which all names share.
            names = [one.removeprefix(PREFIX) for one in (*known, "S2S_SECRET_KEY")]
            given = key.removeprefix(PREFIX).upper()
            near = [one for one in names if given.endswith(f"_{one}")]
            near = near or difflib.get_close_matches(given, names, n=1)
            hint = f"Did you mean {PREFIX}{near[0]}?" if near else "docs/settings.md has all."
            raise ConfigError(key, "is not a setting", hint)


def _secret_keys(config: Mapping[str, Any]) -> tuple[str | bytes, ...]:
    own = config.get("S2S_SECRET_KEY")
    if own is not None:
        newest_first = [own] if isinstance(own, str | bytes) else own
        if not isinstance(newest_first, list | tuple) or not newest_first:
            newest_first = [own]
        return tuple(secret_of("S2S_SECRET_KEY", one) for one in reversed(newest_first))
    secret = config.get("SECRET_KEY")
    if not secret:
        raise ConfigError(
            "SECRET_KEY",
            "is not set, so clicks cannot be signed",
            "Set SECRET_KEY or S2S_SECRET_KEY before init_app, for example from "
            "python -c 'import secrets; print(secrets.token_hex())'.",
        )
    fallbacks = config.get("SECRET_KEY_FALLBACKS") or ()
    if isinstance(fallbacks, str | bytes):
        # Taken as a list it would be keys of one letter each.
        raise ConfigError("SECRET_KEY_FALLBACKS", "is one text", "Make it a list of old keys.")
    old = [
        secret_of("SECRET_KEY_FALLBACKS", one) for one in fallbacks if one not in (None, "", b"")
    ]
    return (*old, secret_of("SECRET_KEY", secret))


def _carry(key: str, value: Any) -> Any:
    if value == "helpers":
        log.warning(
            "s2s.config.deprecated: %s = 'helpers' is 'auto' now, and refused in the next release; "
            "the helpers do nothing any more",
            key,
            extra={"action": "config.deprecated"},
        )
        return "auto"
    return choice("auto", "off")(key, value)


@cache
def _fields() -> frozenset[str]:
    return frozenset(one.name for one in fields(Settings))


def _declared(networks: Iterable[type[Declared]]) -> list[Setting]:
    return [one for network in networks for one in network.settings]


def keys(
    networks: Iterable[type[Declared]] | None = None,
) -> dict[str, tuple[str, Callable[[str, Any], Any]]]:
    """Return every key that is read, its name on `Settings` and its parser.

    Raises `ConfigError` where two networks want the same one: it may hold a secret.
    """
    found: dict[str, tuple[str, Callable[[str, Any], Any]]] = {}
    for one in _declared(built_in() if networks is None else networks):
        if one.key in found or one.key in _KEYS:
            raise ConfigError(one.key, "is declared twice", "A network's keys have its name.")
        found[one.key] = (one.attribute, one.parse)
    return {**found, **_KEYS}


_KEYS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "S2S_PROXY": ("proxy", proxy),
    "S2S_CA_BUNDLE": ("ca_bundle", text),
    "S2S_TRUST_ENV": ("trust_env", boolean),
    "S2S_DATABASE_URI": ("database_uri", text),
    "S2S_DATABASE_OPTIONS": ("database_options", options),
    "S2S_SCHEMA": ("schema", text),
    "S2S_WINDOW": ("window", window),
    "S2S_ATTRIBUTION": ("attribution", choice("last", "first")),
    "S2S_COOKIE_NAME": ("cookie_name", cookie_name),
    "S2S_COOKIE_DOMAIN": ("cookie_domain", cookie_domain),
    "S2S_CARRY": ("carry", _carry),
    "S2S_STRIP_PARAMS": ("strip_params", boolean),
    "S2S_KEEP_LANDING": ("keep_landing", boolean),
    "S2S_SCRIPT_COOKIES": ("script_cookies", boolean),
    "S2S_ROBOTS": ("robots", function),
    "S2S_CONSENT": ("consent", function),
    "S2S_GPC": ("gpc", choice("ignore", "deny")),
    "S2S_IDENTIFY": ("identify", choice("limited", "verified")),
    "S2S_RULE": ("rule", rule),
    "S2S_RULE_ERROR": ("rule_error", choice("credit", "review")),
    "S2S_CUSTOMERS": ("customers", customers),
    "S2S_REPORT_ZONE": ("report_zone", zone),
    "S2S_CLICK_RATE": ("click_rate", number(0)),
    "S2S_CLICK_DAY": ("click_day", integer(0)),
    "S2S_WORKER": ("worker", choice("embedded", "external")),
    "S2S_RECORD_WAIT": ("record_wait", record_wait),
    "S2S_CONCURRENCY": ("concurrency", integer(1)),
    "S2S_RATE": ("rate", number(0.01)),
    "S2S_LEASE": ("lease", lease),
    "S2S_GIVE_UP": ("give_up", span("days")),
    "S2S_SEND_PII": ("send_pii", choice("plain", "hash", "omit")),
    "S2S_SEND_CLIENT": ("send_client", boolean),
    "S2S_DRY_RUN": ("dry_run", boolean),
}
