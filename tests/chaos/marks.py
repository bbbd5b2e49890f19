"""Marks: a process leaves them in a file as it goes, and they tell what a kill interrupted.

Each mark is one `write` to a file opened for appending, so a mark is there or not, and outlives the
process. All come from public seams: `S2S(transport=...)`, the `delivery_settled` signal, a session
event, and Python's own audit event of an HTTP client that sends: it comes right before the one write
with which a request leaves.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from flask_s2s.networks.http import HttpTransport
from flask_s2s.networks.messages import Request, Response
from flask_s2s.rules.delivery import Delivery

#: A delivery's way, and a visitor's.
CLAIMED, SENT, ANSWERED, SETTLED = "claimed", "sent", "answered", "settled"
VIEW, COMMITTED, SERVED = "view", "committed", "served"
_LAST = (SETTLED, SERVED)


class Marks:
    """Leaves marks."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def leave(self, mark: str, key: str) -> None:
        os.write(self._file, f"{mark} {key}\n".encode())


class MarkingTransport:
    """HTTP, with a mark before, within and after each post."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._http = HttpTransport()
        self._post = threading.local()
        sys.addaudithook(self._on_audit)

    def send(self, request: Request, *, seconds: float) -> Response:
        if request.method != "POST" or request.body is None:
            return self._http.send(request, seconds=seconds)
        key = str(request.body.get("key") or request.body["customer_key"])
        self._marks.leave(CLAIMED, key)
        self._post.key = key
        try:
            return self._http.send(request, seconds=seconds)
        finally:
            self._post.key = None
            self._marks.leave(ANSWERED, key)

    def _on_audit(self, event: str, _arguments: Any) -> None:
        if event == "http.client.send" and getattr(self._post, "key", None):
            self._marks.leave(SENT, self._post.key)


def key_of(delivery: Delivery) -> str:
    """Name a delivery as its request does."""
    return str(getattr(delivery.conversion, "key", None) or delivery.customer_key)


class Trail:
    """The marks of one process, read while it lives or after its death."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb")
        self._rest = b""
        self._open: dict[tuple[str, str], str] = {}

    def read(self) -> dict[str, set[str]]:
        """Return the keys of what is not done yet, by the last mark that each left."""
        text = self._rest + self._file.read()
        whole, _, self._rest = text.rpartition(b"\n")
        for line in whole.decode().splitlines():
            mark, _, key = line.partition(" ")
            whose = "visit" if mark in (VIEW, COMMITTED, SERVED) else "delivery"
            if mark in _LAST:
                self._open.pop((whose, key), None)
            else:
                self._open[whose, key] = mark
        by_mark: dict[str, set[str]] = {}
        for (_, key), mark in self._open.items():
            by_mark.setdefault(mark, set()).add(key)
        return by_mark

    def close(self) -> None:
        self._file.close()
