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

from collections.abc import Callable, Sequence
from datetime import datetime
from time import monotonic

from ..conversion import Conversion
from ..errors import S2SError
from .credentials import Credentials
from .messages import MAX_ANSWER, Request, Response, Secret, Transport
from .reading import Absent, Listed, More, Page, Readable, Reading, Record, Unknown

#: Requests for one look through a list.
MOST_PAGES = 40
#: What the network gives at most, and what it gives by itself.
_LONGEST_PAGE, _SHORTEST_PAGE = 250, 10
#: Answered where a remembered cursor names nothing any more.
_NO_CURSOR = (400, 404, 410, 422)


class _Look:
    """One look for a conversion through a list, from where an earlier one came to."""

    def __init__(self, conversion: Conversion, cursor: str | None) -> None:
        self.conversion = conversion
        self.cursor = cursor
        #: What it came to; None: the list goes on.
        self.reading: Reading | None = None
        #: Everything before it is surely another record.
        self._sure = cursor
        self._doubt: str | None = None
        self._pages = 0

    @property
    def is_new(self) -> bool:
        return self._pages == 0

    def forget(self) -> None:
        """Begin anew."""
        self.cursor = self._sure = None

    def unknown(self, detail: str) -> Unknown:
        return Unknown(detail=self._doubt or detail, cursor=self._sure)

    def take(self, found: Reading | More) -> None:
        """Take what a page tells."""
        self._pages += 1
        self.reading = self._read(found)

    def _read(self, found: Reading | More) -> Reading | None:
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
        records: Readable,
        lane: str,
        transport: Transport,
        credentials: Credentials,
        *,
        seconds: float,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        """`lane` is the one whose credential reads."""
        self._network = records
        self._lane = lane
        self._transport = transport
        self._credentials = credentials
        self._seconds = seconds
        self._monotonic = monotonic
        #: As many as its answers have had room and time for.
        self._limit = _LONGEST_PAGE

    @property
    def able(self) -> bool:
        return bool(self._credentials.for_lane(self._lane))

    def customer(self, customer_key: str) -> Reading:
        credential = self._credential()
        if credential is None:
            return self._unable()
        request = self._network.customer_request(customer_key, credential)
        answer = self._send(request, self._seconds)
        if isinstance(answer, Unknown):
            return answer
        try:
            return self._network.read_customer(customer_key, answer)
        except Exception as error:  # noqa: BLE001 - a network module's mistake tells nothing
            return _unreadable(error)

    def find(
        self,
        conversions: Sequence[Conversion],
        since: datetime,
        until: datetime | None = None,
        cursor: str | None = None,
    ) -> list[Reading]:
        credential = self._credential()
        if credential is None:
            return [Unknown(detail=self._unable().detail, cursor=cursor)] * len(conversions)
        looks = [_Look(conversion, cursor) for conversion in conversions]
        alike: dict[object, list[_Look]] = {}
        for look in looks:
            request = self._page(look, since, until, credential)
            asked = None if request is None else (request.method, request.url, request.content)
            alike.setdefault(asked, []).append(look)
        for some in alike.values():
            self._look_through(some, since, until, credential)
        unread = "the network's list could not be read to its end yet"
        return [look.reading or look.unknown(unread) for look in looks]

    def _look_through(
        self, looks: list[_Look], since: datetime, until: datetime | None, credential: Secret
    ) -> None:
        """Read one list for all of them, which are wherever the first one is."""
        give_up = self._monotonic() + self._seconds
        for _ in range(MOST_PAGES):
            looks = [look for look in looks if look.reading is None]
            request = self._page(looks[0], since, until, credential) if looks else None
            left = give_up - self._monotonic()
            if request is None or left <= 0:
                return
            first, limit, answer = looks[0], self._limit, self._send(request, left)
            if isinstance(answer, Unknown):
                if first.is_new:
                    self._limit = max(limit // 2, _SHORTEST_PAGE)
                for look in looks:
                    look.reading = look.unknown(answer.detail)
            elif len(answer.body) >= MAX_ANSWER and limit > 1:
                self._limit = limit // 2
            elif first.is_new and first.cursor is not None and answer.status in _NO_CURSOR:
                for look in looks:
                    look.forget()
            else:
                for look in looks:
                    look.take(self._read_records(look.conversion, answer))

    def _page(
        self, look: _Look, since: datetime, until: datetime | None, credential: Secret
    ) -> Request | None:
        page = Page(since=since, until=until, cursor=look.cursor, limit=self._limit)
        return self._network.records_request(look.conversion, page, credential)

    def records(
        self,
        kind: str,
        since: datetime,
        *,
        read: Callable[[int], None] = lambda count: None,
        seconds: float | None = None,
    ) -> list[Record] | Unknown:
        credential = self._credential()
        if credential is None:
            return self._unable()
        found: list[Record] = []
        limit, cursor = _LONGEST_PAGE, None
        give_up = None if seconds is None else self._monotonic() + seconds
        while True:
            page = Page(since=since, cursor=cursor, limit=limit)
            request = self._network.listing_request(kind, page, credential)
            if request is None:
                return Unknown(detail="the network has no list of them", lasting=True)
            left = self._seconds if give_up is None else give_up - self._monotonic()
            if left <= 0:
                return Unknown(detail=f"only {len(found)} were read in the time that there was")
            answer = self._send(request, min(left, self._seconds))
            if isinstance(answer, Response) and len(answer.body) >= MAX_ANSWER and limit > 1:
                limit //= 2
                continue
            listed = answer if isinstance(answer, Unknown) else self._listed(kind, answer)
            if isinstance(listed, Unknown):
                return listed
            found += listed.records
            read(len(listed.records))
            if listed.cursor is None:
                return found
            if listed.cursor == cursor or not listed.records:
                return Unknown(detail="the network's list does not move on")
            cursor = listed.cursor

    def _listed(self, kind: str, answer: Response) -> Listed | Unknown:
        try:
            return self._network.read_listing(kind, answer)
        except Exception as error:  # noqa: BLE001 - a network module's mistake tells nothing
            return _unreadable(error)

    def _read_records(self, conversion: Conversion, answer: Response) -> Reading | More:
        try:
            return self._network.read_records(conversion, answer)
        except Exception as error:  # noqa: BLE001 - a network module's mistake tells nothing
            return _unreadable(error)

    def _credential(self) -> Secret | None:
        return next(iter(self._credentials.for_lane(self._lane)), None)

    def _unable(self) -> Unknown:
        return Unknown(detail=self._credentials.missing(self._lane))

    def _send(self, request: Request, seconds: float) -> Response | Unknown:
        try:
            return self._transport.send(request, seconds=seconds)
        except S2SError as error:
            return Unknown(detail=f"the network's records: {error}")
        except Exception as error:  # noqa: BLE001 - a transport of the site's own
            return Unknown(detail=f"the network's records: {type(error).__name__} while asking")


def _unreadable(error: Exception) -> Unknown:
    return Unknown(detail=f"the network's records: {type(error).__name__} while reading them")
