"""Bodies pass through the middleware over real HTTP: piece by piece, and closed exactly once."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from waitress.server import create_server

from flask_s2s import S2SMiddleware, Services, Settings
from tests.waiting import wait_until

#: Seconds; a server that holds a piece back is waited for no longer.
PATIENCE = 20.0
#: What is asked for; a page of HTML may be filled on its way.
REQUESTS = {"ordinary": "/", "landing": "/?ps_xid=abc", "page": "/page?ps_xid=abc"}


class Breaks(Exception):
    """An error of the app in the middle of its body."""


class Body:
    """Two pieces, the second one only after `go_on` is set; counts how often it is closed."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.breaks = breaks
        self.go_on = threading.Event()
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        kind = "text/html" if environ["PATH_INFO"] == "/page" else "text/plain"
        start_response("200 OK", [("Content-Type", kind)])
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield b"one"
        assert self.go_on.wait(PATIENCE)
        if self.breaks:
            raise Breaks
        yield b"two"

    def close(self) -> None:
        self.closed += 1


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class QuietServer(WSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextlib.contextmanager
def by_wsgiref(app: Any) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, server_class=QuietServer, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def by_waitress(app: Any) -> Iterator[int]:
    server = create_server(app, host="127.0.0.1", port=0, clear_untrusted_proxy_headers=True)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield int(server.effective_port)
    server.trigger.pull_trigger(server.close)
    thread.join()


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    config = {"SECRET_KEY": "a", "S2S_CARRY": "auto", "TESTING": True}
    services = Services.build(Settings.from_mapping(config), folder=tmp_path)
    services.supervisor.prepare()
    yield services
    services.close()


@contextlib.contextmanager
def answer_of(port: int, path: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", path)
    yield connection.getresponse()
    connection.close()


Serving = Callable[[Any], contextlib.AbstractContextManager[int]]
servers = pytest.mark.parametrize("serving", [by_wsgiref, by_waitress])
paths = pytest.mark.parametrize("path", REQUESTS.values(), ids=REQUESTS)


@servers
@paths
def test_each_piece_arrives_before_the_next_is_made(
    services: Services, serving: Serving, path: str
) -> None:
    body = Body()
    with serving(S2SMiddleware(body, services)) as port, answer_of(port, path) as answer:
        assert answer.read1(99) == b"one"
        body.go_on.set()
        assert answer.read() == b"two"
        assert (answer.headers["Set-Cookie"] is not None) is (path != "/")
        wait_until(lambda: body.closed, what="the close")
    assert body.closed == 1


@servers
@paths
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_body_that_breaks_is_closed_once(services: Services, serving: Serving, path: str) -> None:
    body = Body(breaks=True)
    with serving(S2SMiddleware(body, services)) as port, answer_of(port, path) as answer:
        assert answer.read1(99) == b"one"
        body.go_on.set()
        with contextlib.suppress(http.client.HTTPException, ConnectionError):
            assert b"two" not in answer.read()
        wait_until(lambda: body.closed, what="the close")
    assert body.closed == 1


@servers
@paths
def test_a_body_that_nobody_reads_to_its_end_is_closed_once(
    services: Services, serving: Serving, path: str
) -> None:
    body = Body()
    with serving(S2SMiddleware(body, services)) as port:
        with answer_of(port, path) as answer:
            assert answer.read1(99) == b"one"
        body.go_on.set()
        wait_until(lambda: body.closed, what="the close")
    assert body.closed == 1
