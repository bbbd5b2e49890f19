"""One setting's value: read into its type, or refused with what to do. Pure.

`app.config.from_prefixed_env()` turns `False` into the truthy string `'False'`, digits into int and
`1e5` into a float, so each reader accepts only what can be meant. All raise `ConfigError`. Secrets are
checked for what can be told apart from a mistake; no message shows a secret, or a part of one.
"""

from __future__ import annotations

import functools
import inspect
import ipaddress
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta, timezone, tzinfo
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import ConfigError

TokenSource = str | Sequence[str] | Callable[[], "str | Sequence[str] | None"]

_LONGEST = timedelta(days=3653)
LONGEST_LEASE = timedelta(hours=1)


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
        raise ConfigError(
            key, "must be an http(s) address", "Example: https://network.example.com."
        )
    if parts.username or parts.password:
        raise ConfigError(key, "must not contain a password", "Use the settings for the keys.")
    if parts.query or parts.fragment:
        raise ConfigError(key, "must not have a ? or #", "Only scheme, host and path.")
    return given


def zone(key: str, value: Any) -> tzinfo:
    """Return a time zone of the IANA's."""
    name = text(key, value)
    if name.upper() == "UTC":
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ConfigError(
            key,
            f"is {name!r}, and there is no such time zone here",
            "Write one of the IANA's, such as Europe/Berlin; where the system has none, "
            "`pip install tzdata`.",
        ) from None


def options(key: str, value: Any) -> dict[str, Any]:
    """Keyword arguments; in the environment a JSON object."""
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return dict(value)
    raise ConfigError(
        key,
        "must be a mapping of names to values",
        'Example: {"pool_size": 2, "pool_recycle": 300}.',
    )


def proxy(key: str, value: Any) -> str:
    """Where a proxy listens; its name and password may be in it."""
    given = text(key, value).rstrip("/")
    try:
        parts = urlsplit(given)
        good = parts.scheme == "http" and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        good = False
    if not good or parts.path or parts.query or any(letter.isspace() for letter in given):
        # Not shown: it may hold a password.
        problem = "must be the http address of a proxy, with its port"
        raise ConfigError(key, problem, "Example: http://proxy.example.com:3128.")
    return given


def is_loopback(url: str) -> bool:
    """Say whether `url` names this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith((".localhost", ".test")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
    if not timedelta(seconds=3) <= found <= LONGEST_LEASE:
        raise ConfigError(
            key,
            "is under 3 seconds or over an hour",
            "One attempt takes up to a quarter of it; a crashed worker's rows wait for its end.",
        )
    return found


def record_wait(key: str, value: Any) -> timedelta:
    found = span("seconds")(key, value)
    if found > timedelta(seconds=60):
        raise ConfigError(key, "is over a minute", "A visitor's page waits so long at most.")
    return found


def function(key: str, value: Any) -> Callable[..., Any]:
    """A function of the advertiser's own."""
    if not callable(value):
        raise ConfigError(key, "must be a function", "Give it in Python; the environment cannot.")
    if inspect.isgeneratorfunction(value):
        raise ConfigError(key, "gives its answers one by one", "Use `return`, not `yield`.")
    return _called(key, value)


def _called(key: str, value: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a function whose answer would have to be awaited: it would be none."""
    for one in (value, getattr(value, "__call__", None)):  # noqa: B004 - of an object's class
        if inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one):
            raise ConfigError(
                key, "is asynchronous, and is called as it is", "Write it with `def`."
            )
    return value


def rule(key: str, value: Any) -> Callable[[Any, Any, Any], str | None]:
    """The advertiser's own rule, of two arguments or of three; called with three."""
    own = function(key, value)
    taken = _taken_by(own)
    if taken == 3:
        return own
    if taken == 2:
        return functools.wraps(own)(lambda conversion, click, facts: own(conversion, click))
    raise ConfigError(
        key,
        "cannot be called with a conversion, its click and the facts about both",
        "Write `def rule(conversion, click, facts): ...`, or leave out the last one.",
    )


def customers(key: str, value: Any) -> Callable[..., Any] | str:
    """A function of the advertiser's own, or a query of its own customer table."""
    if isinstance(value, str) and value.lstrip()[:6].lower() == "select":
        return value
    if callable(value):
        return _called(key, value)
    raise ConfigError(
        key,
        "is neither a query nor a function",
        "Give SELECT id, created_at FROM users WHERE created_at >= :since, or a function of `since`.",
    )


def _taken_by(own: Callable[..., Any]) -> int | None:
    """Return how many arguments a rule takes: two, where that is enough for it."""
    try:
        signature = inspect.signature(own)
    except (TypeError, ValueError):
        return None
    for count in (2, 3):
        try:
            signature.bind(*range(count))
            return count
        except TypeError:
            continue
    return None


#: The stand-in network's own token, fixed and public.
SANDBOX_TOKEN = "sandbox-token"  # noqa: S105 - public

#: Signing keys under this many characters can be guessed.
SHORTEST_KEY = 16
RANDOM_KEY = "Use a random one: python -c 'import secrets; print(secrets.token_hex())'."

_IN_A_HEADER = re.compile(r"[\x21-\x7e]+")
#: A value in quotes, a variable as shells, templates and people write it, and what programs write for
#: nothing.
_NOT_FILLED_IN = re.compile(
    r"""(["'`]).*\1\Z|(?i:none|null|undefined)\Z|\$[{(]|\$[A-Z][A-Z0-9_]*\Z|\{\{|<.*>\Z|%\w+%\Z"""
)
_COPY = "Copy it again, without quotes or line breaks."


def secret_of(key: str, value: Any) -> str | bytes:
    """Return a secret as it is. Raises `ConfigError` for what is none."""
    if isinstance(value, str | bytes) and value.strip():
        return value
    if isinstance(value, int | float):
        raise ConfigError(
            key,
            "was read as a number or as true or false, which may have changed it",
            f"In the environment, quote it as JSON: FLASK_{key}='\"...\"'"
            + (", or use S2S_TOKEN_FILE." if key == "S2S_TOKEN" else "."),
        )
    raise ConfigError(key, "must be non-empty text", "Set it to the secret itself.")


def secret_text(key: str, value: Any) -> str:
    """Return a secret that a header can carry, without spaces around it."""
    secret = secret_of(key, value)
    text = secret.decode("latin-1") if isinstance(secret, bytes) else secret
    if not _IN_A_HEADER.fullmatch(text.strip()):
        raise ConfigError(key, "holds a character that no token has", _COPY)
    if _NOT_FILLED_IN.match(text.strip()):
        raise ConfigError(key, "is in quotes, or stands for a value that nobody filled in", _COPY)
    return text.strip()


def tokens_of(key: str, given: Any) -> tuple[str, ...]:
    """Return tracking tokens in the order in which they are tried; empty for None.

    Raises `ConfigError`, also for the stand-in's token beside others: on the day a real token is
    revoked, conversions would quietly go on under it.
    """
    if given is None:
        return ()
    listed = given if isinstance(given, list | tuple) else (given,)
    tokens = tuple(dict.fromkeys(secret_text(key, one) for one in listed))
    if SANDBOX_TOKEN in tokens and len(tokens) > 1:
        raise ConfigError(
            key, "has the sandbox's token beside real ones", "A list is of one environment."
        )
    return tokens


def token_source(key: str, value: Any) -> TokenSource:
    """Tokens, or what gives them: a function is called for every attempt."""
    if callable(value):
        return _called(key, value)
    tokens = tokens_of(key, value)
    if not tokens:
        raise ConfigError(key, "is an empty list", "Leave it out to hold what is recorded.")
    return tokens


def refuse_open(key: str, address: str) -> None:
    """Refuse an address to which credentials would go unencrypted. Raises `ConfigError`."""
    if urlsplit(address).scheme == "http" and not is_loopback(address):
        problem = "is http: everybody on the way reads the credentials"
        raise ConfigError(key, problem, "Use https, or the stand-in network's own token.")
