"""One exchange with a network: build the request, send it, read the answer.

The network module decides what an answer means; here a missing answer becomes an outcome, and a
refused token makes way for the next one of a rotation. Nothing is raised: whatever comes back, or
goes wrong, is an outcome, and it leaves through `redaction`.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import Any

from ..click import Click
from ..conversion import Conversion
from ..errors import ConfigError, TransportError
from .credentials import Credentials
from .messages import (
    Ambiguous,
    Exchanged,
    Request,
    Response,
    RetryLater,
    Secret,
    Transport,
    Unauthorised,
)
from .network import Network, lane_of, report_of
from .redaction import LONGEST_LINE, Redaction, of_request

log = logging.getLogger("flask_s2s.worker")

_LONGEST_TRACEBACK = 8192


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
        #: The token that worked last.
        self._worked = Secret("")

    def send(self, conversion: Conversion, click: Click | None) -> Exchanged:
        """Send once (once per token of a rotation) and return what happened.

        All tries together have `seconds`; the token that worked last goes first.
        """
        lane = lane_of(self.network, conversion.kind)
        try:
            tokens = self._credentials.for_lane(lane)
        except ConfigError as error:
            return Exchanged(outcome=Unauthorised(detail=str(error)))
        exchanged = Exchanged(outcome=Unauthorised(detail=self._credentials.missing(lane)))
        until = self._monotonic() + self._seconds
        if self._worked in tokens[1:]:
            tokens = (self._worked, *(one for one in tokens if one != self._worked))
        for token in tokens:
            seconds = until - self._monotonic()
            if seconds <= 0:
                break
            exchanged = self._send(conversion, click, token, seconds)
            if not isinstance(exchanged.outcome, Unauthorised):
                self._worked = token
                break
        return exchanged

    def _send(
        self, conversion: Conversion, click: Click | None, token: Secret, seconds: float
    ) -> Exchanged:
        redacted = of_request(token.value, conversion, click)
        try:
            report = report_of(self.network, conversion, click)
            request = self.network.request(report, token)
        except Exception as error:  # noqa: BLE001 - a network module's mistake is no answer
            _tell_broken(conversion, redacted)
            detail = f"no request could be made of it ({type(error).__name__})"
            return Exchanged(outcome=RetryLater(detail=detail, alarm=True))
        started = self._monotonic()
        response: Response | None = None
        try:
            response = self._transport.send(request, seconds=seconds)
            outcome = self.network.outcome(report, response)
        except TransportError as error:
            detail = str(error)
            outcome = Ambiguous(detail=detail) if error.sent else RetryLater(detail=detail)
        except ConfigError as error:
            outcome = Unauthorised(detail=str(error))
        except Exception as error:  # noqa: BLE001 - a transport's or a network module's mistake
            _tell_broken(conversion, redacted)
            what = "sending" if response is None else "reading the answer"
            detail = f"taken or not: {type(error).__name__} while {what}"
            outcome = Ambiguous(detail=detail, alarm=True)
        duration_ms = int((self._monotonic() - started) * 1000)
        return Exchanged(
            outcome=replace(outcome, detail=redacted.line(outcome.detail)),
            http_status=None if response is None else response.status,
            answer=None if response is None else redacted.answer(response.body),
            request=_shown(request, redacted),
            duration_ms=duration_ms,
        )


class Heard:
    """Any transport, whose answers tell the network's time to whoever hears it."""

    def __init__(self, transport: Transport, hear: Callable[[datetime], None]) -> None:
        self._transport = transport
        self._hear = hear

    def send(self, request: Request, *, seconds: float) -> Response:
        response = self._transport.send(request, seconds=seconds)
        if (date := response.date) is not None:
            self._hear(date)
        return response


def _shown(request: Request, redacted: Redaction) -> dict[str, Any]:
    url, _, query = request.url.partition("?")
    fields = {*(request.body or ()), *(pair.partition("=")[0] for pair in query.split("&") if pair)}
    shown = redacted(url, LONGEST_LINE)
    return {"method": request.method, "url": shown, "fields": sorted(map(str, fields))}


def _tell_broken(conversion: Conversion, redacted: Redaction) -> None:
    log.error(
        "s2s.delivery.broken: %s of customer %r: %s",
        conversion.kind,
        conversion.customer_key,
        redacted(traceback.format_exc(), _LONGEST_TRACEBACK),
        extra={
            "action": "delivery.broken",
            "kind": conversion.kind,
            "customer_key": conversion.customer_key,
        },
    )
