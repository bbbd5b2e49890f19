"""The stand-in network over real HTTP, with what a test wants to know of its callers."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import requests

from flask_s2s.sandbox.app import create_sandbox
from flask_s2s.sandbox.server import serve
from tests.servers.running import PATIENCE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class StandIn:
    """A network that remembers on which connection each conversion came."""

    def __init__(self) -> None:
        self._app = create_sandbox()
        #: Cleared: conversions are taken, and answered once it is set.
        self.may_answer = Event()
        self.may_answer.set()
        self._server = serve(self._answer)
        self._server.start()
        self.url = self._server.url
        #: The callers' ports, one for each post, in order.
        self.ports: list[str] = []

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/conversion/xid":
            self.ports.append(environ["REMOTE_PORT"])
            answer = self._app(environ, start)
            self.may_answer.wait(PATIENCE)
            return answer
        return self._app(environ, start)

    def link(self) -> str:
        """Follow Ada's link; return where it leads, with the click ID."""
        answer = requests.get(f"{self.url}/go/ada", allow_redirects=False, timeout=PATIENCE)
        return answer.headers["Location"]

    def click(self) -> str:
        """Follow Ada's link; return the click ID."""
        return parse_qs(urlsplit(self.link()).query)["ps_xid"][0]

    def set_faults(self, **switches: object) -> None:
        """Set the switches; none given: everything works."""
        answer = requests.put(f"{self.url}/sandbox/faults", json=switches, timeout=PATIENCE)
        answer.raise_for_status()

    def ledger(self) -> dict[str, Any]:
        record: dict[str, Any] = requests.get(f"{self.url}/sandbox/ledger", timeout=PATIENCE).json()
        return record

    def posts(self, key: str) -> int:
        """Count the posts for a customer that have arrived, answered or not."""
        return int(self.ledger()["conversion_posts"].get(key, 0))

    def expect_credited_once(self, key: str) -> None:
        ledger = self.ledger()
        found = [each for each in ledger["customers"] if each["external_key"] == key]
        assert [each["partner"] for each in found] == ["ada"]
        assert ledger["accepted_posts"][key] == 1

    def close(self) -> None:
        self._server.stop()
