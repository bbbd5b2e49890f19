"""Messages between us and a network: a request, its answer, the meaning of that, and the end of a try.

Values alone: every room that sends, settles or shows an attempt speaks of these. They leave through a
`Transport`: `http` sends in earnest, `flask_s2s.testing` has doubles, and `credentials.OwnHostOnly` looks
at each request last of all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, ClassVar, Protocol
from urllib.parse import urlencode

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. `headers` may hold a secret and is never shown; `body` is JSON or a form."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    content_type: str = JSON

    def __repr__(self) -> str:
        """Without a query: some networks want their credential in it."""
        return f"Request(method={self.method!r}, url={self.url.partition('?')[0]!r})"

    @property
    def content(self) -> bytes | None:
        """The body's bytes, as its content type has them."""
        if self.body is None:
            return None
        if self.content_type == FORM:
            return urlencode(self.body, doseq=True).encode()
        return json.dumps(self.body).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP answer; `body` is cut at what the transport reads at most. Headers are lower-case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def date(self) -> datetime | None:
        """The time by the network's clock (`Date`); None where no readable one came."""
        return _moment(self.headers.get("date", ""))


#: Bytes of an answer that are read at most.
MAX_ANSWER = 64 * 1024


class Transport(Protocol):
    """Anything that turns a request into a response."""

    def send(self, request: Request, *, seconds: float) -> Response:
        """Send and wait at most `seconds`. Raises `TransportError`."""
        ...


@lru_cache(maxsize=8)
def _moment(said: str) -> datetime | None:
    """Read a date; those of one second's answers are alike."""
    try:
        moment = parsedate_to_datetime(said)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(
            timezone.utc
        )
    except (LookupError, TypeError, ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential on its way into a request. As text it is not shown: only `value` has it.

    So a log or a report of an error that lists the variables of each frame has none.
    """

    value: str

    def __repr__(self) -> str:
        return "Secret(...)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The common part of outcomes. Those that say no more share its methods: made once, not for each."""

    detail: str


class Accepted(_Told):
    """The network took it. Not yet proof that it has it."""

    __slots__ = ()
    word: ClassVar[str] = "accepted"


class Duplicate(_Told):
    """The network says that it has this customer already."""

    __slots__ = ()
    word: ClassVar[str] = "duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLater:
    """Surely not taken. `after` is what the network asked for; `alarm` marks the unexpected."""

    word: ClassVar[str] = "retry_later"
    detail: str
    after: timedelta | None = None
    alarm: bool = False


class NotThere(_Told):
    """The network does not have the thing to undo: not yet, or not any more."""

    __slots__ = ()
    word: ClassVar[str] = "not_there"


class Unauthorised(_Told):
    """The credential is missing, wrong or revoked: hold everything that needs it."""

    __slots__ = ()
    word: ClassVar[str] = "unauthorised"


class Refused(_Told):
    """A final no, recognised as one by the network module."""

    __slots__ = ()
    word: ClassVar[str] = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """The request may have been taken: no answer, or an answer that does not tell.

    `after` is what the network asked for; `alarm` marks the unexpected.
    """

    word: ClassVar[str] = "ambiguous"
    detail: str
    after: timedelta | None = None
    alarm: bool = False


Outcome = Accepted | Duplicate | RetryLater | NotThere | Unauthorised | Refused | Ambiguous
#: The words of the outcomes by which the network has it.
SUCCESSES = (Accepted.word, Duplicate.word)

#: Statuses whose `Retry-After` is about the service, not the request.
_BUSY = (429, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """The result of one attempt: its outcome, and the facts for the attempt's row (no secret)."""

    outcome: Outcome
    http_status: int | None = None
    answer: str | None = None
    duration_ms: int = 0
    #: What was sent, by field name only: a delivery's own row holds the values.
    request: dict[str, Any] | None = None
    #: Not sent, but found in the network's records.
    found: bool = False
    #: It is on record as a test that should not be one.
    test: bool = False

    @property
    def asked_for_rest(self) -> timedelta | None:
        """How long the network wants to be asked nothing, by anybody (429 and 503, RFC 9110)."""
        if self.http_status in _BUSY and isinstance(self.outcome, RetryLater | Ambiguous):
            return self.outcome.after
        return None
