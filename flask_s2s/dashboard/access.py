"""Permissions: the answers of the host's `access(request)`, to look or to act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import Request


@dataclass(frozen=True, slots=True)
class View:
    """May look. `name` is shown on each page, and stands in the audit log."""

    name: str

    @property
    def acts(self) -> bool:
        """Whether they may change anything."""
        return False


@dataclass(frozen=True, slots=True)
class Act:
    """May look and act: send again, credit by hand."""

    name: str

    @property
    def acts(self) -> bool:
        """Whether they may change anything."""
        return True


#: None: the dashboard does not show itself (404).
Access = Callable[[Request], "View | Act | None"]
