"""The networks that come with the package: the one place outside their own folders that names them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Folders of `networks/`, each with its `NETWORK`. The first is that of a click that names none.
BUILT_IN = ("partnerstack",)


def built_in() -> tuple[type[Any], ...]:
    """Return them. They are found by name, because they stand above the settings that they declare."""
    homes = (import_module(f"..networks.{name}", __package__) for name in BUILT_IN)
    return tuple(home.NETWORK for home in homes)
