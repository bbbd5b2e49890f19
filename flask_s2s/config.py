"""From a mapping to frozen `Settings`, read once.

`app.config.from_prefixed_env()` turns `False` into the truthy string `'False'`, digits into int and
`1e5` into a float: booleans accept only their plain spellings, and a number where a secret belongs
is refused with the cure. `None` means unset. A key that starts with `S2S_` and is not known is a
typing mistake, and a typing mistake here loses conversions: it is refused, with the nearest name.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

from .errors import ConfigError
from .tokens import secret_of, secret_text, tokens_of

TokenSource = str | Sequence[str] | Callable[[], "str | Sequence[str] | None"]

PREFIX = "S2S_"
_LONGEST = timedelta(days=3653)
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
    #: Which click wins.
    attribution: Literal["last", "first"] = "last"
    cookie_name: str = "s2s"
    #: "auto" (registrable domain), None (host-only) or a domain.
    cookie_domain: str | None = "auto"
    #: New click rows a second and process; beyond it the click lives in the cookie only.
    click_rate: float = 100.0
    #: "embedded": a thread of the web process delivers. "external": `flask s2s work` does.
    worker: Literal["embedded", "external"] = "embedded"
    #: Deliveries in flight at once in one worker.
    concurrency: int = 8
    #: Deliveries a second that one worker sends at most; None: as fast as it goes.
    rate: float | None = None
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
        settings = cls(**values)
        _check_together(settings)
        return settings


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


def _string(key: str, value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ConfigError(key, "must be non-empty text", "Set it, or leave it out.")


def _boolean(key: str, value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise ConfigError(key, f"must be true or false, not {value!r}", "Use true, false, 1 or 0.")


def _span(unit: str) -> Callable[[str, Any], timedelta]:
    def parse(key: str, value: Any) -> timedelta:
        remedy = f"A number is {unit}; at most ten years."
        if isinstance(value, timedelta):
            span = value
        elif _is_number(value):
            span = timedelta(**{unit: max(-1, min(value, 10**6))})
        else:
            raise ConfigError(key, "must be a number or a timedelta", remedy)
        if not timedelta(0) < span <= _LONGEST:
            raise ConfigError(key, "is out of bounds", remedy)
        return span

    return parse


def _is_number(value: Any) -> bool:
    """JSON in the environment may also say NaN and Infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(minimum: float) -> Callable[[str, Any], float]:
    def parse(key: str, value: Any) -> float:
        if not _is_number(value) or value < minimum:
            raise ConfigError(key, f"must be a number, at least {minimum:g}", "Change it.")
        return float(value)

    return parse


def _integer(minimum: int) -> Callable[[str, Any], int]:
    def parse(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ConfigError(key, f"must be a whole number, at least {minimum}", "Change it.")
        return value

    return parse


def _choice(*allowed: str) -> Callable[[str, Any], str]:
    def parse(key: str, value: Any) -> str:
        if value not in allowed:
            raise ConfigError(key, f"cannot be {value!r}", f"Use one of: {', '.join(allowed)}.")
        return str(value)

    return parse


def _url(key: str, value: Any) -> str:
    text = _string(key, value).rstrip("/")
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(letter.isspace() for letter in text):
        raise ConfigError(key, "must be an http(s) address", "Example: https://partnerlinks.io.")
    if parts.username or parts.password:
        raise ConfigError(key, "must not contain a password", "Use the settings for the keys.")
    if parts.query or parts.fragment:
        raise ConfigError(key, "must not have a ? or #", "Only scheme, host and path.")
    return text


def _cookie_name(key: str, value: Any) -> str:
    text = _string(key, value)
    if not all(c.isascii() and (c.isalnum() or c in "_-.") for c in text):
        raise ConfigError(key, "must be letters, digits, _ - or .", "Example: s2s.")
    return text


def _cookie_domain(key: str, value: Any) -> str:
    text = _string(key, value).lower().removeprefix(".")
    if not re.fullmatch(r"auto|(?:[a-z0-9_-]{1,63}\.)+[a-z][a-z0-9-]{1,62}", text):
        raise ConfigError(
            key, "must be auto, None or a domain", "Example: example.com, in its ASCII (xn--) form."
        )
    return text


def _lease(key: str, value: Any) -> timedelta:
    lease = _span("seconds")(key, value)
    if not timedelta(seconds=3) <= lease <= timedelta(hours=1):
        raise ConfigError(
            key,
            "is under 3 seconds or over an hour",
            "One attempt takes up to a third of it; a crashed worker's rows wait for its end.",
        )
    return lease


_KEYS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "S2S_TOKEN": ("token", _token),
    "S2S_TOKEN_FILE": ("token_file", _string),
    "S2S_PARTNERSTACK_URL": ("partnerstack_url", _url),
    "S2S_PARTNERSTACK_API_URL": ("partnerstack_api_url", _url),
    "S2S_PARTNERSTACK_PUBLIC_KEY": ("partnerstack_public_key", secret_text),
    "S2S_PARTNERSTACK_SECRET_KEY": ("partnerstack_secret_key", secret_text),
    "S2S_DATABASE_URI": ("database_uri", _string),
    "S2S_WINDOW": ("window", _span("days")),
    "S2S_ATTRIBUTION": ("attribution", _choice("last", "first")),
    "S2S_COOKIE_NAME": ("cookie_name", _cookie_name),
    "S2S_COOKIE_DOMAIN": ("cookie_domain", _cookie_domain),
    "S2S_CLICK_RATE": ("click_rate", _number(0)),
    "S2S_WORKER": ("worker", _choice("embedded", "external")),
    "S2S_CONCURRENCY": ("concurrency", _integer(1)),
    "S2S_RATE": ("rate", _number(0.01)),
    "S2S_LEASE": ("lease", _lease),
    "S2S_GIVE_UP": ("give_up", _span("days")),
    "S2S_SEND_PII": ("send_pii", _choice("plain", "hash", "omit")),
    "S2S_SEND_CLIENT": ("send_client", _boolean),
    "S2S_DRY_RUN": ("dry_run", _boolean),
}
