"""Reading back: what the network's own records say. Values, and the seams to ask through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ..conversion import Conversion
from .messages import Request, Response, Secret

#: Absence proves nothing before this long after the last possible write, unless a network's traits
#: say otherwise (field report: indexing lag).
GRACE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The network has it. `test`: in its test environment, where nobody is paid."""

    test: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """The network does not have it now. Proof only some time after the last possible write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The network did not tell. Never treated as absent."""

    detail: str
    #: Where its list was read to, when it was read in part: a later look goes on from there.
    cursor: str | None = None
    #: Whether it did not take the API keys.
    refused: bool = False
    #: Whether asking again would tell no more.
    lasting: bool = False


Reading = Present | Absent | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """Not in this page of a list; the next one begins behind this cursor."""

    cursor: str
    #: Why one of the page's records may be it all the same.
    doubt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One of the network's own records, as far as it shows it: None is what it does not show."""

    kind: str
    #: The network's own key of it.
    id: str | None
    #: The keys of which one may be ours.
    keys: tuple[str, ...]
    #: The keys of which one may be our customer's; of a sign-up the same ones.
    customer_keys: tuple[str, ...]
    partner_key: str | None = None
    #: An action's type.
    what: str | None = None
    amount: int | None = None
    currency: str | None = None
    test: bool | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One page of the network's records; the next one begins behind the cursor, if there is one."""

    records: tuple[Record, ...]
    cursor: str | None = None


class Reader(Protocol):
    """Asks one network about its records."""

    @property
    def able(self) -> bool:
        """Whether there are credentials to ask with."""
        ...

    def customer(self, customer_key: str) -> Reading:
        """Ask whether the network has this customer."""
        ...

    def find(
        self,
        conversions: Sequence[Conversion],
        since: datetime,
        until: datetime | None = None,
        cursor: str | None = None,
    ) -> list[Reading]:
        """Ask whether the network has each of these, recorded between two moments.

        What is in one list is looked for in one go. `cursor` is where an earlier look for the one
        that is asked for came to, between the same two moments.
        """
        ...

    def records(
        self,
        kind: str,
        since: datetime,
        *,
        read: Callable[[int], None] = lambda count: None,
        seconds: float | None = None,
    ) -> list[Record] | Unknown:
        """Return every record of a kind since a moment; `read` hears how many each page brought.

        `seconds` is how long it may take in all; without it, as long as it takes.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list of records: of those that were made between two moments."""

    since: datetime
    #: None: up to now.
    until: datetime | None = None
    #: What the page before ended with; None for the first.
    cursor: str | None = None
    limit: int


class Readable(Protocol):
    """The part of a network module that asks for its records and reads them. No I/O."""

    def customer_request(self, customer_key: str, secret: Secret) -> Request:
        """Build the request that asks for one customer."""
        ...

    def read_customer(self, customer_key: str, response: Response) -> Reading:
        """Say what the answer to it means."""
        ...

    def records_request(self, conversion: Conversion, page: Page, secret: Secret) -> Request | None:
        """Build the request for one page of the records among which `conversion` would be.

        None when this kind has no such list.
        """
        ...

    def read_records(self, conversion: Conversion, response: Response) -> Reading | More:
        """Say whether `conversion` is in this page; Absent only when the list ends with it."""
        ...

    def listing_request(self, kind: str, page: Page, secret: Secret) -> Request | None:
        """Build the request for one page of all records of a kind; None where there is no list."""
        ...

    def read_listing(self, kind: str, response: Response) -> Listed | Unknown:
        """Return the records of the page."""
        ...


class NoReader:
    """For a network whose records cannot be read."""

    able = False

    def customer(self, customer_key: str) -> Reading:
        return Unknown(detail="the network's records cannot be read")

    def find(
        self,
        conversions: Sequence[Conversion],
        since: datetime,
        until: datetime | None = None,
        cursor: str | None = None,
    ) -> list[Reading]:
        return [Unknown(detail="the network's records cannot be read")] * len(conversions)

    def records(
        self,
        kind: str,
        since: datetime,
        *,
        read: Callable[[int], None] = lambda count: None,
        seconds: float | None = None,
    ) -> list[Record] | Unknown:
        return Unknown(detail="the network's records cannot be read", lasting=True)
