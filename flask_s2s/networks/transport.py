"""The seam with one method through which requests leave: whatever sends them, and what stands before it.

`http` sends them in earnest, `flask_s2s.testing` has doubles, `credentials.OwnHostOnly` looks at each
request last of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from ..config.parsing import is_loopback
from ..errors import ConfigError
from .network import Lane, Request, Response

#: Bytes of an answer that are read at most.
MAX_ANSWER = 64 * 1024


class Transport(Protocol):
    """Anything that turns a request into a response."""

    def send(self, request: Request, *, seconds: float) -> Response:
        """Send and wait at most `seconds`. Raises `TransportError`."""
        ...


class LoopbackOnly:
    """Any transport, but a request to another machine is refused (used under `TESTING`)."""

    def __init__(self, transport: Transport, lanes: Sequence[Lane] = ()) -> None:
        self._transport = transport
        self._lanes = lanes

    def send(self, request: Request, *, seconds: float) -> Response:
        self.refuse_live(request.url)
        return self._transport.send(request, seconds=seconds)

    def refuse_live(self, url: str) -> None:
        """Raise `ConfigError` unless `url` names this machine."""
        if not is_loopback(url):
            named = (lane.address for lane in self._lanes if url.startswith(lane.base_url))
            raise ConfigError(
                next(named, "The address of a network"),
                f"is a live network ({urlsplit(url).hostname}) while TESTING is set",
                "Point it at the sandbox, or give S2S a transport: "
                "S2S(transport=ScriptedTransport()).",
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
