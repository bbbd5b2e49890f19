"""The middleware around any WSGI app: it speaks the protocol, and the app does not notice it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from flask_s2s import S2SMiddleware, Services, Settings

Environ = dict[str, Any]
HEADERS = [("Content-Type", "text/plain"), ("Cache-Control", "public")]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Services of a site that has no Flask."""
    services = Services.build(
        Settings.from_mapping({"SECRET_KEY": "a", "TESTING": True}), folder=tmp_path
    )
    yield services
    services.storage.engine().dispose()


def environ_of(query: str = "ps_xid=abc") -> Environ:
    environ: Environ = {"QUERY_STRING": query, "HTTP_HOST": "www.shop.example"}
    setup_testing_defaults(environ)
    return environ


class Server:
    """A server's steps with one request."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.started: list[tuple[str, list[tuple[str, str]], Any]] = []
        self.written: list[bytes] = []

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        self.started.append((status, headers, exc_info))
        return self.written.append

    def call(self, environ: Environ) -> Iterable[bytes]:
        answer: Iterable[bytes] = self.app(environ, self.start_response)
        return answer

    def cookies(self) -> list[int]:
        """How many cookies each call of start_response set."""
        return [
            sum(name == "Set-Cookie" and value.startswith("s2s=1") for name, value in headers)
            for _, headers, _ in self.started
        ]


def hello(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", list(HEADERS))
    return [b"hello"]


def test_both_sides_keep_to_the_protocol(services: Services) -> None:
    server = Server(validator(S2SMiddleware(validator(hello), services)))
    for query in ("ps_xid=abc", "", "ps_xid=%00", "ps_xid=" + "x" * 600):
        answer = server.call(environ_of(query))
        assert b"".join(answer) == b"hello"
        answer.close()  # type: ignore[attr-defined]
    assert server.cookies() == [1, 0, 0, 0]


def test_a_stream_stays_lazy_and_is_closed_once(services: Services) -> None:
    happened: list[str] = []

    class Stream:
        def __iter__(self) -> Iterator[bytes]:
            for piece in ("a", "b"):
                happened.append(piece)
                yield piece.encode()

        def close(self) -> None:
            happened.append("closed")

    stream = Stream()

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", list(HEADERS))
        return stream

    server = Server(S2SMiddleware(app, services))
    answer = server.call(environ_of())
    assert answer is stream
    assert happened == []
    pieces = iter(answer)
    assert next(pieces) == b"a"
    assert happened == ["a"]
    assert server.cookies() == [1]
    assert list(pieces) == [b"b"]
    stream.close()
    assert happened == ["a", "b", "closed"]


def test_an_app_that_starts_its_response_late_gets_the_cookie(services: Services) -> None:
    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(HEADERS))
        yield b"late"

    server = Server(S2SMiddleware(app, services))
    answer = server.call(environ_of())
    assert server.started == []
    assert list(answer) == [b"late"]
    assert server.cookies() == [1]


def test_write_is_the_servers_own(services: Services) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", list(HEADERS))
        write(b"written")
        return []

    server = Server(S2SMiddleware(app, services))
    assert list(server.call(environ_of())) == []
    assert server.written == [b"written"]
    assert server.cookies() == [1]


def test_an_error_after_the_start_is_passed_on(services: Services) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", list(HEADERS))
        try:
            raise LookupError("in the app")
        except LookupError:
            start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"oops"]

    server = Server(S2SMiddleware(app, services))
    assert list(server.call(environ_of())) == [b"oops"]
    (_, _, nothing), (status, headers, exc_info) = server.started
    assert nothing is None
    assert status == "500 Oops"
    assert exc_info[0] is LookupError
    assert server.cookies() == [1, 1]
    assert ("Cache-Control", "private, no-store") in headers


def test_the_apps_own_list_of_headers_is_left_alone(services: Services) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", HEADERS)
        return []

    before = list(HEADERS)
    Server(S2SMiddleware(app, services)).call(environ_of())
    assert before == HEADERS


def test_an_apps_exception_is_the_apps(services: Services) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        raise LookupError("in the app")

    with pytest.raises(LookupError, match="in the app"):
        Server(S2SMiddleware(app, services)).call(environ_of())


def test_a_query_string_may_be_missing(services: Services) -> None:
    environ = environ_of()
    del environ["QUERY_STRING"]
    assert list(Server(S2SMiddleware(hello, services)).call(environ)) == [b"hello"]


def test_the_middleware_needs_no_flask() -> None:
    program = (
        "import sys, flask_s2s.middleware; print(sorted({'flask', 'jinja2'} & {*sys.modules}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"
