"""What a network is to us: values in, values out. No I/O.

A network module turns a conversion into a request and an answer into an outcome. 200 is not success
by itself: each network reads its own answers, and what it does not recognise as final is tried
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from ..click import Click
from ..conversion import Conversion


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. `headers` may hold a secret and is never shown; `body` is JSON."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP answer; `body` is cut at what the transport reads at most. Headers are lower-case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What is said of an outcome. Those that say no more share its methods: made once, not for each."""

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
    """What is to be undone is not at the network: not yet, or not any more."""

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
    """The request may have been taken: no answer, or an answer that does not tell."""

    word: ClassVar[str] = "ambiguous"
    detail: str
    #: What the network asked for, if it said so.
    after: timedelta | None = None


Outcome = Accepted | Duplicate | RetryLater | NotThere | Unauthorised | Refused | Ambiguous


class Network(Protocol):
    """One partner network and what it declares of itself."""

    @property
    def name(self) -> str:
        """The name stored with clicks and deliveries."""
        ...

    def lane(self, kind: str) -> str:
        """Name the credential and host that this kind of conversion goes through.

        A lane is held, paused and resumed by itself: one credential's failure stops no other.
        """
        ...

    def needs_click(self, kind: str) -> bool:
        """Say whether this kind is credited through a click, or through its customer."""
        ...

    def repeat_is_harmless(self, kind: str) -> bool:
        """Say whether sending this kind twice is known to do nothing the second time."""
        ...

    def request(self, conversion: Conversion, click: Click | None, credential: str) -> Request:
        """Build the request that reports `conversion`; `click` where its kind needs one."""
        ...

    def read(self, kind: str, response: Response) -> Outcome:
        """Say what the answer means."""
        ...
