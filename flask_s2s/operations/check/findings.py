"""Findings: how bad each is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import Enum


class Level(str, Enum):
    """The severity of a finding."""

    OK = "ok"
    NOTE = "note"
    ERROR = "error"

    def __str__(self) -> str:
        return str(self.value)


def moment(at: datetime, zone: tzinfo) -> str:
    """Return a time of a finding, in the zone of who reads it, and with its name."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. `remedy` says what to do, where there is something to do."""

    level: Level
    subject: str
    message: str
    remedy: str = ""
    #: Stable, for programs.
    code: str = ""

    @classmethod
    def ok(cls, subject: str, message: str) -> Finding:
        """Return what is well."""
        return cls(level=Level.OK, subject=subject, message=message)

    @classmethod
    def note(cls, subject: str, message: str, remedy: str, code: str = "") -> Finding:
        """Return what may be meant so."""
        return cls(level=Level.NOTE, subject=subject, message=message, remedy=remedy, code=code)

    @classmethod
    def error(cls, subject: str, message: str, remedy: str, code: str = "") -> Finding:
        """Return what is wrong."""
        return cls(level=Level.ERROR, subject=subject, message=message, remedy=remedy, code=code)
