"""The seam with one method through which requests leave.

`http` sends them in earnest, `flask_s2s.testing` has doubles; `credentials.OwnHostOnly` looks at each
request last of all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from .messages import Request, Response

#: Bytes of an answer that are read at most.
MAX_ANSWER = 64 * 1024


class Transport(Protocol):
    """Anything that turns a request into a response."""

    def send(self, request: Request, *, seconds: float) -> Response:
        """Send and wait at most `seconds`. Raises `TransportError`."""
        ...


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
