"""Secrets as they are given to us: checked for what can be told apart from a mistake. Pure.

No message here shows a secret, or a part of one.
"""

from __future__ import annotations

import re
from typing import Any

from .errors import ConfigError

#: The stand-in network's own token, fixed and public.
SANDBOX_TOKEN = "sandbox-token"  # noqa: S105 - public

_IN_A_HEADER = re.compile(r"[\x21-\x7e]+")
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
