"""A network's declaration of its own settings: `S2S_<NAME>_...`, read with all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

PREFIX = "S2S_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key, how it is read, and what is said of it."""

    key: str
    #: Given the key and what was set, the value. Raises `ConfigError`.
    parse: Callable[[str, Any], Any]
    default: Any = None
    #: Its meaning, as docs/settings.md has it.
    help: str

    @property
    def attribute(self) -> str:
        """Its name on `Settings`."""
        return self.key.removeprefix(PREFIX).lower()

    @property
    def row(self) -> str:
        """Its row in docs/settings.md."""
        default = "none" if self.default is None else f"`{self.default}`"
        return f"| `{self.key}` | {default} | {self.help} |"


class Declared:
    """A network, as far as the settings know it."""

    #: Stored with clicks and deliveries, and in capitals a part of its keys.
    name: ClassVar[str]
    settings: ClassVar[Sequence[Setting]] = ()

    @classmethod
    def check(cls, values: Mapping[str, Any], *, testing: bool) -> None:
        """Look at its settings together, by their keys. Raises `ConfigError`."""
