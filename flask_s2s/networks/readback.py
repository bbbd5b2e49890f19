"""Asking a network for its own records, within a bound of time and of pages.

Whatever keeps the network from answering is `Unknown`: no credentials, no connection, an answer
that cannot be read. Nothing here raises.

A list may be too long for one look. Then the answer says how far it was read, and the next look goes
on from there: each one makes progress, however short it is. Nothing that was recorded in time can be
missed by that, because looks begin only when it must be in the list, and keep to their bounds. Where
a record may be the one that is looked for, the rest is read for a better one, but the next look
begins before it again: that it was absent must be seen in one go.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from time import monotonic

from ..conversion import Conversion
from ..errors import TransportError
from .credentials import Credentials
from .network import Request, Response
from .reading import Absent, More, Page, Readable, Reading, Unknown
from .transport import MAX_ANSWER, Transport

#: Requests for one look through a list.
MOST_PAGES = 40
#: What the network gives at most, and what it gives by itself.
_LONGEST_PAGE, _SHORTEST_PAGE = 250, 10
#: Answered where a remembered cursor names nothing any more.
_NO_CURSOR = (400, 404, 410, 422)


class _Look:
    """One look through a list, from where an earlier one came to."""

    def __init__(self, cursor: str | None) -> None:
        self.cursor = cursor
        #: Everything before it is surely another record.
        self._sure = cursor
        self._doubt: str | None = None
        self.pages = 0

    @property
    def is_new(self) -> bool:
        return self.pages == 0

    def forget(self) -> None:
        """Begin anew."""
        self.cursor = self._sure = None

    def unknown(self, detail: str) -> Unknown:
        return Unknown(detail=self._doubt or detail, cursor=self._sure)

    def take(self, found: Reading | More) -> Reading | None:
        """Take what a page tells; None: the list goes on."""
        self.pages += 1
        match found:
            case More(cursor=self.cursor):
                return self.unknown("the network's list does not move on")
            case More(cursor=cursor, doubt=doubt):
                self.cursor, self._doubt = cursor, self._doubt or doubt
                if self._doubt is None:
                    self._sure = cursor
                return None
            case Absent() if self._doubt is not None:
                return self.unknown(self._doubt)
            case Unknown(detail=detail):
                return self.unknown(detail)
        return found


class ReadBack:
    """Reads one network's records."""

    def __init__(
        self,
        network: Readable,
        transport: Transport,
        credentials: Credentials,
        *,
        seconds: float,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._network = network
        self._transport = transport
        self._credentials = credentials
        self._seconds = seconds
        self._monotonic = monotonic
        #: As many as its answers have had room and time for.
        self._limit = _LONGEST_PAGE

    @property
    def able(self) -> bool:
        return bool(self._credentials.for_lane(self._network.reading_lane))

    def customer(self, customer_key: str) -> Reading:
        credential = self._credential()
        if credential is None:
            return self._unable()
        request = self._network.customer_request(customer_key, credential)
        answer = self._send(request, self._seconds)
        if isinstance(answer, Unknown):
            return answer
        return self._network.read_customer(customer_key, answer)

    def find(
        self,
        conversion: Conversion,
        since: datetime,
        until: datetime | None = None,
        cursor: str | None = None,
    ) -> Reading:
        credential = self._credential()
        if credential is None:
            return Unknown(detail=self._unable().detail, cursor=cursor)
        look, give_up = _Look(cursor), self._monotonic() + self._seconds
        for _ in range(MOST_PAGES):
            limit = self._limit
            page = Page(since=since, until=until, cursor=look.cursor, limit=limit)
            request = self._network.records_request(conversion, page, credential)
            left = give_up - self._monotonic()
            if request is None or left <= 0:
                break
            answer = self._send(request, left)
            if isinstance(answer, Unknown):
                if look.is_new:
                    self._limit = max(limit // 2, _SHORTEST_PAGE)
                return look.unknown(answer.detail)
            if len(answer.body) >= MAX_ANSWER and limit > 1:
                self._limit = limit // 2
            elif look.is_new and look.cursor is not None and answer.status in _NO_CURSOR:
                look.forget()
            elif reading := look.take(self._network.read_records(conversion, answer)):
                return reading
        return look.unknown("the network's list could not be read to its end yet")

    def _credential(self) -> str | None:
        return next(iter(self._credentials.for_lane(self._network.reading_lane)), None)

    def _unable(self) -> Unknown:
        return Unknown(detail=self._credentials.missing(self._network.reading_lane))

    def _send(self, request: Request, seconds: float) -> Response | Unknown:
        try:
            return self._transport.send(request, seconds=seconds)
        except TransportError as error:
            return Unknown(detail=f"the network's records: {error}")
