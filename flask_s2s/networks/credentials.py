"""Where a credential comes from: a string, a list (rotation), a file, or a callable.

Read again for every attempt: a corrected file or secret store is used without a restart. (A file's
time of change is not asked: two changes within its resolution look like one.)
"""

from __future__ import annotations

from ..config import Settings, TokenSource
from ..errors import ConfigError
from ..tokens import tokens_of
from .partnerstack import API

_LONGEST_FILE = 65536


class Credentials:
    """What to try for a lane, in order. Empty when there is none. Never shown."""

    def __init__(self, settings: Settings) -> None:
        self._source: TokenSource | None = settings.token
        self._file = settings.token_file
        keys = (settings.partnerstack_public_key, settings.partnerstack_secret_key)
        self._pair = (f"{keys[0]}:{keys[1]}",) if all(keys) else ()

    def for_lane(self, lane: str) -> tuple[str, ...]:
        """Return what may open a lane: the API's key pair, or the tracking tokens.

        Raises `ConfigError`, like `tokens`.
        """
        return self._pair if lane == API else self.tokens()

    def missing(self, lane: str) -> str:
        """Say what to set when a lane has no credential."""
        if lane == API:
            return "no API keys: set S2S_PARTNERSTACK_PUBLIC_KEY and _SECRET_KEY"
        return "no token: set S2S_TOKEN or S2S_TOKEN_FILE"

    def tokens(self) -> tuple[str, ...]:
        """Return the tracking tokens that exist now.

        Raises `ConfigError` when the file cannot be read, the callable fails, or what they give
        cannot be used.
        """
        if self._file is not None:
            return _from_file(self._file)
        if not callable(self._source):
            return tokens_of("S2S_TOKEN", self._source)
        try:
            given = self._source()
        except Exception as error:  # noqa: BLE001 - the developer's own code
            # Not chained: the message of a secret store may show the secret.
            problem = f"is a callable that raised {type(error).__name__}"
            raise ConfigError("S2S_TOKEN", problem, "Correct it.") from None
        return tokens_of("S2S_TOKEN", given)


def _from_file(path: str) -> tuple[str, ...]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read(_LONGEST_FILE).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read ({type(error).__name__})"
        raise ConfigError("S2S_TOKEN_FILE", problem, "One token a line, readable here.") from None
    return tokens_of("S2S_TOKEN_FILE", [line for line in lines if line.strip()])
