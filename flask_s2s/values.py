"""One setting's value: read into its type, or refused with what to do.

`app.config.from_prefixed_env()` turns `False` into the truthy string `'False'`, digits into int and
`1e5` into a float, so each reader accepts only what can be meant. All raise `ConfigError`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from .errors import ConfigError

_LONGEST = timedelta(days=3653)


def text(key: str, value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ConfigError(key, "must be non-empty text", "Set it, or leave it out.")


def boolean(key: str, value: Any) -> bool:
    said = str(value).strip().lower()
    if said in ("true", "1"):
        return True
    if said in ("false", "0"):
        return False
    raise ConfigError(key, f"must be true or false, not {value!r}", "Use true, false, 1 or 0.")


def span(unit: str) -> Callable[[str, Any], timedelta]:
    def parse(key: str, value: Any) -> timedelta:
        remedy = f"A number is {unit}; at most ten years."
        if isinstance(value, timedelta):
            found = value
        elif _is_number(value):
            found = timedelta(**{unit: max(-1, min(value, 10**6))})
        else:
            raise ConfigError(key, "must be a number or a timedelta", remedy)
        if not timedelta(0) < found <= _LONGEST:
            raise ConfigError(key, "is out of bounds", remedy)
        return found

    return parse


def window(key: str, value: Any) -> timedelta | dict[str, timedelta]:
    """One for all networks, or a mapping with some networks' own."""
    days = span("days")
    if not isinstance(value, Mapping):
        return days(key, value)
    return {text(key, name): days(key, own) for name, own in value.items()}


def _is_number(value: Any) -> bool:
    """JSON in the environment may also say NaN and Infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(minimum: float) -> Callable[[str, Any], float]:
    def parse(key: str, value: Any) -> float:
        if not _is_number(value) or value < minimum:
            raise ConfigError(key, f"must be a number, at least {minimum:g}", "Change it.")
        return float(value)

    return parse


def integer(minimum: int) -> Callable[[str, Any], int]:
    def parse(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ConfigError(key, f"must be a whole number, at least {minimum}", "Change it.")
        return value

    return parse


def choice(*allowed: str) -> Callable[[str, Any], str]:
    def parse(key: str, value: Any) -> str:
        if value not in allowed:
            raise ConfigError(key, f"cannot be {value!r}", f"Use one of: {', '.join(allowed)}.")
        return str(value)

    return parse


def url(key: str, value: Any) -> str:
    given = text(key, value).rstrip("/")
    try:
        parts = urlsplit(given)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(letter.isspace() for letter in given):
        raise ConfigError(key, "must be an http(s) address", "Example: https://partnerlinks.io.")
    if parts.username or parts.password:
        raise ConfigError(key, "must not contain a password", "Use the settings for the keys.")
    if parts.query or parts.fragment:
        raise ConfigError(key, "must not have a ? or #", "Only scheme, host and path.")
    return given


def cookie_name(key: str, value: Any) -> str:
    given = text(key, value)
    if not all(c.isascii() and (c.isalnum() or c in "_-.") for c in given):
        raise ConfigError(key, "must be letters, digits, _ - or .", "Example: s2s.")
    return given


def cookie_domain(key: str, value: Any) -> str:
    given = text(key, value).lower().removeprefix(".")
    if not re.fullmatch(r"auto|(?:[a-z0-9_-]{1,63}\.)+[a-z][a-z0-9-]{1,62}", given):
        raise ConfigError(
            key, "must be auto, None or a domain", "Example: example.com, in its ASCII (xn--) form."
        )
    return given


def lease(key: str, value: Any) -> timedelta:
    found = span("seconds")(key, value)
    if not timedelta(seconds=3) <= found <= timedelta(hours=1):
        raise ConfigError(
            key,
            "is under 3 seconds or over an hour",
            "One attempt takes up to a quarter of it; a crashed worker's rows wait for its end.",
        )
    return found


def function(key: str, value: Any) -> Callable[..., Any]:
    """A function of the advertiser's own."""
    if callable(value):
        called: Callable[..., Any] = value
        return called
    raise ConfigError(key, "must be a function", "Give it in Python; the environment cannot.")
