"""From a mapping to frozen `Settings`, read once.

`None` means unset. A key that starts with `S2S_` and is not known is a
typing mistake, and a typing mistake here loses conversions: it is refused, with the nearest name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from .errors import ConfigError
from .tokens import secret_of, secret_text, tokens_of
from .values import (
    boolean,
    choice,
    cookie_domain,
    cookie_name,
    function,
    integer,
    lease,
    number,
    span,
    text,
    url,
    window,
)

#: Given the WSGI environ, what the visitor has said.
Consent = Callable[[dict[str, Any]], str]
#: Given a conversion and its click, None or why it must not be credited.
Rule = Callable[[Any, Any], "str | None"]
TokenSource = str | Sequence[str] | Callable[[], "str | Sequence[str] | None"]

PREFIX = "S2S_"
PARTNERSTACK_URL = "https://partnerlinks.io"
PARTNERSTACK_API_URL = "https://api.partnerstack.com/api/v2"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of one app. `README.md` has the same list for people."""

    #: Keys that sign the record, oldest first; the last one signs.
    secret_keys: tuple[str | bytes, ...] = field(repr=False)
    #: Tracking tokens in the order of trying; None holds deliveries until there is one.
    token: TokenSource | None = field(default=None, repr=False)
    #: File with one token a line, read again when it changes.
    token_file: str | None = None
    partnerstack_url: str = PARTNERSTACK_URL
    partnerstack_api_url: str = PARTNERSTACK_API_URL
    partnerstack_public_key: str | None = field(default=None, repr=False)
    partnerstack_secret_key: str | None = field(default=None, repr=False)
    #: SQLAlchemy URL of the outbox; None: the app's own database, else a file in the instance folder.
    database_uri: str | None = field(default=None, repr=False)
    #: Attribution window.
    window: timedelta = timedelta(days=90)
    #: Networks with a window of their own.
    windows: Mapping[str, timedelta] = field(default_factory=dict)
    #: Which click wins.
    attribution: Literal["last", "first"] = "last"
    cookie_name: str = "s2s"
    #: "auto" (registrable domain), None (host-only) or a domain.
    cookie_domain: str | None = "auto"
    #: How a click travels while its cookie has not been seen to come back: "auto" (in every link and
    #: form of a page), "helpers" (where a template says so) or "off".
    carry: Literal["auto", "helpers", "off"] = "helpers"
    #: Answer a landing with a redirect to the same URL without the click's parameters.
    strip_params: bool = False
    #: Read the cookies of the network's own script where there is no click of ours.
    script_cookies: bool = True
    #: Called with the WSGI environ: "granted", "pending" or "denied"; None: granted.
    consent: Consent | None = field(default=None, repr=False)
    #: What Global Privacy Control (`Sec-GPC: 1`) means: "ignore" it, or "deny" consent.
    gpc: Literal["ignore", "deny"] = "ignore"
    #: The advertiser's own rule, called with the conversion and its click: None, or why not to credit.
    rule: Rule | None = field(default=None, repr=False)
    #: New click rows a second and process; beyond it the click lives in the cookie only.
    click_rate: float = 100.0
    #: "embedded": a thread of the web process delivers. "external": `flask s2s work` does.
    worker: Literal["embedded", "external"] = "embedded"
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
    #: From Flask: under TESTING no thread starts and a live host is refused.
    testing: bool = False
    debug: bool = False

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> Settings:
        """Read `config` (a Flask config or any mapping). Raises `ConfigError`."""
        _refuse_unknown(config)
        values: dict[str, Any] = {"secret_keys": _secret_keys(config)}
        for key, (name, parse) in _KEYS.items():
            raw = config.get(key)
            if raw is not None:
                values[name] = parse(key, raw)
        if "S2S_COOKIE_DOMAIN" in config and config["S2S_COOKIE_DOMAIN"] is None:
            values["cookie_domain"] = None
        values["testing"] = bool(config.get("TESTING"))
        values["debug"] = bool(config.get("DEBUG"))
        if isinstance(own := values.get("window"), dict):
            values["windows"] = own
            del values["window"]
        settings = cls(**values)
        _check_together(settings)
        return settings

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
    if settings.token is not None and settings.token_file is not None:
        raise ConfigError("S2S_TOKEN", "and S2S_TOKEN_FILE are both set", "Keep one of them.")
    pair = (settings.partnerstack_public_key, settings.partnerstack_secret_key)
    if (pair[0] is None) != (pair[1] is None):
        missing = "PUBLIC" if pair[0] is None else "SECRET"
        raise ConfigError(
            f"S2S_PARTNERSTACK_{missing}_KEY",
            "is missing: the API's keys are a pair",
            "Set both, or neither (then nothing is verified).",
        )
    if settings.cookie_name.startswith("__Host-") and settings.cookie_domain is not None:
        raise ConfigError(
            "S2S_COOKIE_NAME",
            "begins with __Host-, and browsers refuse such a cookie with a domain",
            "Set S2S_COOKIE_DOMAIN to None as well.",
        )


def _refuse_unknown(config: Mapping[str, Any]) -> None:
    for key in config:
        if key.startswith(PREFIX) and key not in _KEYS and key != "S2S_SECRET_KEY":
            # Without the prefix, which all names share.
            names = [known.removeprefix(PREFIX) for known in (*_KEYS, "S2S_SECRET_KEY")]
            near = difflib.get_close_matches(key.removeprefix(PREFIX).upper(), names, n=1)
            hint = f"Did you mean {PREFIX}{near[0]}?" if near else "README lists the settings."
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


def _token(key: str, value: Any) -> TokenSource:
    if callable(value):
        source: Callable[[], str | Sequence[str] | None] = value
        return source
    tokens = tokens_of(key, value)
    if not tokens:
        raise ConfigError(key, "is an empty list", "Leave it out to hold what is recorded.")
    return tokens


_KEYS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "S2S_TOKEN": ("token", _token),
    "S2S_TOKEN_FILE": ("token_file", text),
    "S2S_PARTNERSTACK_URL": ("partnerstack_url", url),
    "S2S_PARTNERSTACK_API_URL": ("partnerstack_api_url", url),
    "S2S_PARTNERSTACK_PUBLIC_KEY": ("partnerstack_public_key", secret_text),
    "S2S_PARTNERSTACK_SECRET_KEY": ("partnerstack_secret_key", secret_text),
    "S2S_DATABASE_URI": ("database_uri", text),
    "S2S_WINDOW": ("window", window),
    "S2S_ATTRIBUTION": ("attribution", choice("last", "first")),
    "S2S_COOKIE_NAME": ("cookie_name", cookie_name),
    "S2S_COOKIE_DOMAIN": ("cookie_domain", cookie_domain),
    "S2S_CARRY": ("carry", choice("auto", "helpers", "off")),
    "S2S_STRIP_PARAMS": ("strip_params", boolean),
    "S2S_SCRIPT_COOKIES": ("script_cookies", boolean),
    "S2S_CONSENT": ("consent", function),
    "S2S_GPC": ("gpc", choice("ignore", "deny")),
    "S2S_RULE": ("rule", function),
    "S2S_CLICK_RATE": ("click_rate", number(0)),
    "S2S_WORKER": ("worker", choice("embedded", "external")),
    "S2S_CONCURRENCY": ("concurrency", integer(1)),
    "S2S_RATE": ("rate", number(0.01)),
    "S2S_LEASE": ("lease", lease),
    "S2S_GIVE_UP": ("give_up", span("days")),
    "S2S_SEND_PII": ("send_pii", choice("plain", "hash", "omit")),
    "S2S_SEND_CLIENT": ("send_client", boolean),
    "S2S_DRY_RUN": ("dry_run", boolean),
}
