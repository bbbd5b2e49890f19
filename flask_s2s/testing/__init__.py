"""Doubles for your tests, and for ours: a clock you set, and a network that answers from a script.

::

    transport = ScriptedTransport(accepted(), no_answer())
    app = create_app({"TESTING": True})       # your factory, with S2S(transport=transport)
    client.get("/?ps_xid=abc123"); client.post("/signup", data=...)
    with app.app_context():
        s2s.drain()
    assert transport.requests[0].body["customer_key"] == "42"

Under `TESTING` no thread starts, so nothing is sent before `s2s.drain()`.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta, timezone

from ..errors import TransportError
from ..networks.messages import Request, Response
from .contract import NetworkContract as NetworkContract

_START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = _START) -> None:
        self._now = now
        self._counted = 0.0

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta | None = None, **units: float) -> datetime:
        """Move on by a timedelta or its arguments (`seconds=`, `days=` ...); return the new time."""
        by = by if by is not None else timedelta(**units)
        self._counted += max(by.total_seconds(), 0.0)
        return self.step(by)

    def step(self, by: timedelta | None = None, **units: float) -> datetime:
        """Set it, as somebody sets a machine's clock: no time passes. Return the new time."""
        self._now += by if by is not None else timedelta(**units)
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that have passed."""
        return self._counted


class ScriptedTransport:
    """Answers each request with the next of `answers`; the last one is used again and again.

    Without any, everything is accepted. `requests` keeps what was sent, in order.
    """

    def __init__(self, *answers: Response | TransportError) -> None:
        self._answers = deque(answers or [accepted()])
        self.requests: list[Request] = []

    def then(self, *answers: Response | TransportError) -> None:
        """Answer with these from now on."""
        self._answers = deque(answers)

    def send(self, request: Request, *, seconds: float) -> Response:
        self.requests.append(request)
        answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, TransportError):
            raise answer
        return answer


def accepted() -> Response:
    """The ordinary answer to success: 200 with an empty body."""
    return Response(status=200)


def answered(status: int, body: str = "", **headers: str) -> Response:
    """Any other answer; header names are written with `_` for `-` (`retry_after="30"`)."""
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Response(status=status, body=body.encode(), headers=named)


def no_answer() -> TransportError:
    """The connection broke after the request was sent: taken or not, nobody knows."""
    return TransportError("the connection broke", sent=True)


def not_connected() -> TransportError:
    """The connection was refused: surely not taken."""
    return TransportError("could not connect", sent=False)
