"""Reading back: what the network's own records say. Values, and the seams to ask through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ..conversion import Conversion
from .network import Request, Response

#: A 404 proves absence only this long after the last possible write (field report: indexing lag).
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


Reading = Present | Absent | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """Not in this page of a list; the next one begins behind this cursor."""

    cursor: str
    #: Why one of the page's records may be it all the same.
    doubt: str | None = None


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
        conversion: Conversion,
        since: datetime,
        until: datetime | None = None,
        cursor: str | None = None,
    ) -> Reading:
        """Ask whether the network has this action or transaction, recorded between two moments.

        `cursor` is where an earlier look between the same two came to.
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
    """What a network module declares when its records can be read. No I/O."""

    @property
    def reading_lane(self) -> str:
        """The lane whose credential reads."""
        ...

    def customer_request(self, customer_key: str, credential: str) -> Request:
        """Build the request that asks for one customer."""
        ...

    def read_customer(self, customer_key: str, response: Response) -> Reading:
        """Say what the answer to it means."""
        ...

    def records_request(
        self, conversion: Conversion, page: Page, credential: str
    ) -> Request | None:
        """Build the request for one page of the records among which `conversion` would be.

        None when this kind has no such list.
        """
        ...

    def read_records(self, conversion: Conversion, response: Response) -> Reading | More:
        """Say whether `conversion` is in this page; Absent only when the list ends with it."""
        ...


class NoReader:
    """For a network whose records cannot be read."""

    able = False

    def customer(self, customer_key: str) -> Reading:
        return Unknown(detail="the network's records cannot be read")

    def find(
        self,
        conversion: Conversion,
        since: datetime,
        until: datetime | None = None,
        cursor: str | None = None,
    ) -> Reading:
        return Unknown(detail="the network's records cannot be read")
