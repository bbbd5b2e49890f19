"""One exchange with a network: build the request, send it, read the answer.

The network module decides what an answer means; here a missing answer becomes an outcome, and a
refused token makes way for the next one of a rotation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic
from typing import Any

from ..click import Click
from ..conversion import Conversion
from ..errors import ConfigError, TransportError
from .credentials import Credentials
from .network import Ambiguous, Network, Outcome, Request, Response, RetryLater, Unauthorised
from .transport import Transport

#: How much of an answer is kept with the attempt, in bytes.
KEPT_ANSWER = 2048
#: Statuses whose `Retry-After` is about the service, not the request.
_BUSY = (429, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """What happened: the outcome, and what the attempt's row tells of it (without secrets)."""

    outcome: Outcome
    http_status: int | None = None
    answer: str | None = None
    duration_ms: int = 0
    #: What was sent, by field name only: a delivery's own row holds the values.
    request: dict[str, Any] | None = None
    #: Not sent, but found in the network's records as a test that should not be one.
    test: bool = False

    @property
    def asked_for_rest(self) -> timedelta | None:
        """How long the network wants to be asked nothing, by anybody (429 and 503, RFC 9110)."""
        if self.http_status in _BUSY and isinstance(self.outcome, RetryLater | Ambiguous):
            return self.outcome.after
        return None


class Exchange:
    """Sends one network's conversions."""

    def __init__(
        self,
        network: Network,
        transport: Transport,
        credentials: Credentials,
        *,
        seconds: float,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self.network = network
        self._transport = transport
        self._credentials = credentials
        self._seconds = seconds
        self._monotonic = monotonic
        self._worked: str | None = None

    def send(self, conversion: Conversion, click: Click | None) -> Exchanged:
        """Send once (once per token of a rotation) and return what happened.

        All tries together have `seconds`; the token that worked last goes first.
        """
        lane = self.network.lane(conversion.kind)
        try:
            tokens = self._credentials.for_lane(lane)
        except ConfigError as error:
            return Exchanged(outcome=Unauthorised(detail=str(error)))
        exchanged = Exchanged(outcome=Unauthorised(detail=self._credentials.missing(lane)))
        until = self._monotonic() + self._seconds
        for token in sorted(tokens, key=lambda token: token != self._worked):
            seconds = until - self._monotonic()
            if seconds <= 0:
                break
            exchanged = self._send(conversion, click, token, seconds)
            if not isinstance(exchanged.outcome, Unauthorised):
                self._worked = token
                break
        return exchanged

    def _send(
        self, conversion: Conversion, click: Click | None, token: str, seconds: float
    ) -> Exchanged:
        request = self.network.request(conversion, click, token)
        shown = _shown(request)
        started = self._monotonic()
        try:
            response = self._transport.send(request, seconds=seconds)
        except TransportError as error:
            detail = str(error)
            lost = Ambiguous(detail=detail) if error.sent else RetryLater(detail=detail)
            return Exchanged(outcome=lost, request=shown, duration_ms=self._since(started))
        outcome = self.network.read(conversion.kind, response)
        return Exchanged(
            outcome=replace(outcome, detail=_one_line(outcome.detail)),
            http_status=response.status,
            answer=_kept(response),
            request=shown,
            duration_ms=self._since(started),
        )

    def _since(self, started: float) -> int:
        return int((self._monotonic() - started) * 1000)


def _shown(request: Request) -> dict[str, Any]:
    return {"method": request.method, "url": request.url, "fields": sorted(request.body or ())}


def _one_line(text: str) -> str:
    """What a network says reaches logs, terminals and databases: no line breaks, no escapes."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _kept(response: Response) -> str:
    # A NUL is text that PostgreSQL does not take.
    return response.body[:KEPT_ANSWER].decode("utf-8", "replace").replace("\x00", "�")
