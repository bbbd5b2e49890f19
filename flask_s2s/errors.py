"""The one error tree.

::

    S2SError
    ├── ConfigError          a setting is wrong; names the key and the remedy; raised at start
    ├── UsageError           a call is wrong; raised where it was made
    │   └── InvalidConversion    a conversion's field is not acceptable
    ├── StorageError         the database did not take or give a row
    │   └── TooSlow              it took longer than somebody waits
    └── TransportError       no HTTP answer; says whether the request may have arrived

Messages never contain a secret, a record or a person's data: facts are attributes.
"""

from __future__ import annotations


class S2SError(Exception):
    """Root of everything this package raises on purpose."""


class ConfigError(S2SError):
    """A setting is missing or wrong. `key` is the setting, `remedy` what to do about it."""

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"{key} {problem}. {remedy}")
        self.key = key
        self.problem = problem
        self.remedy = remedy


class UsageError(S2SError):
    """A call was made in a way that cannot work. The message says what to write instead."""


class InvalidConversion(UsageError):
    """A conversion's field is not acceptable. `field` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem
        #: Which kind of conversion it is, once that is known.
        self.kind: str | None = None
        #: Whose it is, where that is acceptable.
        self.customer_key: str | None = None


class StorageError(S2SError):
    """The database did not do what was asked. `remedy` says what to do."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}. {remedy}" if remedy else problem)
        self.remedy = remedy


class TooSlow(StorageError):
    """The database was given so many `seconds` for a statement, and took longer."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"This is not counted within {seconds:g} seconds")


class TransportError(S2SError):
    """No HTTP answer came. `sent` is False only when the request surely did not arrive."""

    def __init__(self, problem: str, *, sent: bool) -> None:
        super().__init__(problem)
        self.sent = sent
