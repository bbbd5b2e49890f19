"""Asking a network for its own records, within a bound of time and of pages.

Whatever keeps the network from answering is `Unknown`: no credentials, no connection, an answer
that cannot be read, a list too long to read to its end. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from time import monotonic

from ..conversion import Conversion
from ..errors import TransportError
from .credentials import Credentials
from .network import Request, Response
from .reading import More, Page, Readable, Reading, Unknown
from .transport import MAX_ANSWER, Transport

#: Requests for one look through a list.
MOST_PAGES = 40
_PAGE = 100


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

    def find(self, conversion: Conversion, since: datetime) -> Reading:
        credential = self._credential()
        if credential is None:
            return self._unable()
        give_up = self._monotonic() + self._seconds
        page = Page(since=since, cursor=None, limit=_PAGE)
        for _ in range(MOST_PAGES):
            request = self._network.records_request(conversion, page, credential)
            left = give_up - self._monotonic()
            if request is None or left <= 0:
                break
            answer = self._send(request, left)
            if isinstance(answer, Unknown):
                return answer
            if len(answer.body) >= MAX_ANSWER and page.limit > 1:
                page = replace(page, limit=max(page.limit // 4, 1))
                continue
            found = self._network.read_records(conversion, answer)
            if not isinstance(found, More):
                return found
            if found.cursor == page.cursor:
                return Unknown(detail="the network's list does not move on")
            page = replace(page, cursor=found.cursor)
        return Unknown(detail="the network's list could not be read to its end")

    def _credential(self) -> str | None:
        return next(iter(self._credentials.for_lane(self._network.reading_lane)), None)

    def _unable(self) -> Unknown:
        return Unknown(detail=self._credentials.missing(self._network.reading_lane))

    def _send(self, request: Request, seconds: float) -> Response | Unknown:
        try:
            return self._transport.send(request, seconds=seconds)
        except TransportError as error:
            return Unknown(detail=f"the network's records: {error}")
