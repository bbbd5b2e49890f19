"""The live log: the last few thousand requests with their answers, in memory, secrets masked.

Bounded and not in the database: it is for somebody's eyes, and must not slow the hot path down or
fill a disk when a test posts a hundred thousand conversions.
"""

import itertools
import re
import threading
from collections import deque
from dataclasses import dataclass

from flask_s2s.sandbox.books.tokens import mask

KEPT = 5000
#: Longer bodies are cut in the log, in characters.
BODY_LENGTH = 4000

_CREDENTIALS = re.compile(r"^(\w+)\s+(\S+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request and its answer."""

    number: int
    #: Epoch milliseconds of its arrival.
    at: int
    method: str
    path: str
    #: The scheme with the masked credentials; empty when none were sent.
    credentials: str
    request_body: str
    #: None when the connection ended without an answer.
    status: int | None
    answer_body: str
    #: What the request did, in words; empty when that says nothing.
    effect: str
    fault: str
    #: From arrival to the answer being ready, without any time a fault held it.
    milliseconds: float


class RequestLog:
    """The newest requests."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        """Return the number of the next entry."""
        return next(self._numbers)

    def append(self, entry: Entry) -> None:
        """Add an entry; the oldest leaves when the log is full."""
        with self._lock:
            self._entries.append(entry)

    def latest(self, limit: int) -> list[Entry]:
        """Return the newest entries, the newest first."""
        with self._lock:
            return list(itertools.islice(reversed(self._entries), limit))

    def clear(self) -> None:
        """Forget all entries; the numbers go on."""
        with self._lock:
            self._entries.clear()


def masked_credentials(authorization: str) -> str:
    """Return an `Authorization` header so that it can be shown."""
    match = _CREDENTIALS.match(authorization)
    if match is None:
        return mask(authorization) if authorization else ""
    return f"{match[1]} {mask(match[2])}"
