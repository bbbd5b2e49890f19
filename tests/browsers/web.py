"""Two real sites on loopback, with TLS, so that browsers treat them as they treat any site.

Over plain HTTP they would send no `Sec-Fetch-Site`, and keep no Secure cookie.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from werkzeug.serving import WSGIRequestHandler, generate_adhoc_ssl_context, make_server

from tests.browsers.browser import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SHOP, PARTNER = "shop.test", "partner.test"


class QuietHandler(WSGIRequestHandler):
    """Keeps the tests' output to what they say."""

    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing."""


class Door:
    """A port on loopback, there before its app is, which may have to know its address."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._thread: threading.Thread | None = None

    def at(self, name: str) -> str:
        """Return its address under a name, without a slash at the end."""
        return f"https://{name}:{self.port}"

    def open(self, app: WSGIApplication) -> None:
        """Serve `app` from now on."""
        self._server = make_server(
            *("127.0.0.1", 0, app),
            threaded=True,
            request_handler=QuietHandler,
            fd=self._listener.fileno(),
        )
        tls = generate_adhoc_ssl_context()
        # Shaken by the thread that serves it: a connection that says nothing keeps nobody waiting.
        self._server.socket = tls.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._server.ssl_context = tls
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        self._listener.close()


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as the server got it."""

    host: str
    #: Path and query string.
    target: str
    referer: str
    cookies: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class Witness:
    """A server of both sites that tells what browsers send. Its page asks for what it may not get.

    The page sets a cookie, has a script that asks for `/ran`, and a picture of the other site. Asked
    with `?to=`, it has a link to there.
    """

    def __init__(self) -> None:
        self._door = Door()
        self._door.open(self._answer)
        self.asked: list[Asked] = []
        self.page = f"{self._door.at(SHOP)}/page"
        self.partner = self._door.at(PARTNER)

    def close(self) -> None:
        """Stop serving."""
        self._door.close()

    def forget(self) -> None:
        """Begin anew."""
        self.asked.clear()

    def paths(self, name: str) -> set[str]:
        """Return what was asked for under a name."""
        return {asked.path for asked in self.asked if asked.host == name}

    def is_remembered(self, browser: Browser) -> bool:
        """Say whether the browser brings the cookie of an earlier visit."""
        browser.type(self.page)
        pages = [asked for asked in self.asked if asked.path == "/page"]
        return "witness=1" in pages[-1].cookies

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        query = environ["QUERY_STRING"]
        self.asked.append(
            Asked(
                host=str(urlsplit(f"//{environ['HTTP_HOST']}").hostname),
                target=environ["PATH_INFO"] + (f"?{query}" if query else ""),
                referer=environ.get("HTTP_REFERER", ""),
                cookies=environ.get("HTTP_COOKIE", ""),
            )
        )
        to = parse_qs(query).get("to", [])
        link = "".join(f'<a href="{escape(address)}">There</a>' for address in to)
        cookie = "witness=1; Max-Age=86400; Path=/; Secure; SameSite=Lax"
        start_response("200 OK", [("Content-Type", "text/html"), ("Set-Cookie", cookie)])
        return [
            b"<!doctype html><title>Witness</title>",
            b'<script>document.write(\'<img alt="" src="/ran">\')</script>',
            f'<img alt="" src="{self.partner}/picture">{link}'.encode(),
        ]
