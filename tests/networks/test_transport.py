"""HTTP's bad days: what surely did not arrive, what may have, and how long it can take."""

from __future__ import annotations

import gzip
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic

import pytest
import urllib3

from flask_s2s.config.parsing import is_loopback
from flask_s2s.errors import TransportError
from flask_s2s.networks.http import HttpTransport
from flask_s2s.networks.messages import MAX_ANSWER, Request, Response

Speak = Callable[[socket.socket], None]


@contextmanager
def server(speak: Speak) -> Iterator[str]:
    """Listen on loopback, and say to each connection what `speak` says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    speak(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        # Closing does not wake a thread that accepts; shutting down does.
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@contextmanager
def silence() -> Iterator[str]:
    """An address of loopback that lets every greeting wait: whoever it accepts first is here."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def known_as(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a name that stands for these addresses, as a name server would tell (in its time)."""
    ask = socket.getaddrinfo

    def known(*hosts: str, after: float = 0) -> str:
        def answer(host: str, *_: object) -> list[object]:
            threading.Event().wait(after)
            split = [one.split(":") for one in hosts]
            return [ask(ip, int(port), type=socket.SOCK_STREAM)[0] for ip, port in split]

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        return "network.test"

    return known


def hear(connection: socket.socket) -> bytes:
    """Return a request, read to its end: what nobody has read resets a connection that is closed."""
    heard, more = b"", b" "
    while more:
        heard += (more := connection.recv(65536))
        head, end, body = heard.partition(b"\r\n\r\n")
        told = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
        if end and len(body) >= (int(told[1]) if told else 0):
            break
    return heard


def says(answer: bytes) -> Speak:
    def speak(connection: socket.socket) -> None:
        hear(connection)
        with suppress(OSError):  # the client may hang up before the end
            connection.sendall(answer)

    return speak


def send(url: str, *, seconds: float = 10) -> Response:
    request = Request(method="POST", url=url, headers={"Authorization": "Bearer t"}, body={"a": 1})
    return HttpTransport().send(request, seconds=seconds)


def fails(url: str, *, seconds: float = 10) -> TransportError:
    with pytest.raises(TransportError) as caught:
        send(url, seconds=seconds)
    return caught.value


def test_an_answer_is_read_whole_with_its_headers_in_lower_case() -> None:
    with server(says(b"HTTP/1.1 503 x\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno")) as host:
        answer = send(f"http://{host}/")
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (503, b"no", "7")


def test_no_log_has_the_address_of_a_request_which_may_have_a_key_in_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG), server(says(b"HTTP/1.1 200 OK\r\n\r\n")) as host:
        send(f"http://{host}/postback?key=of-the-network&customer=42")
        assert caplog.text == ""
        with urllib3.PoolManager() as anothers:
            anothers.request("GET", f"http://{host}/of-the-site's")
        assert "/of-the-site's" in caplog.text, "what is not ours is told as before"


def test_an_endless_answer_is_cut() -> None:
    def speak(connection: socket.socket) -> None:
        hear(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):  # the client hangs up
            while True:
                connection.sendall(b"x" * 65536)

    with server(speak) as host:
        assert len(send(f"http://{host}/").body) == MAX_ANSWER


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"])
def test_a_byte_now_and_then_does_not_buy_more_time(start: bytes) -> None:
    letters = b"HTTP/1.1 200 OK\r\nX-Slow: " if not start else b""

    def speak(connection: socket.socket) -> None:
        hear(connection)
        connection.sendall(start)
        pause = threading.Event()
        try:
            for number in range(200):
                connection.sendall(letters[number : number + 1] or b"x")
                pause.wait(0.1)
        except OSError:
            return
        raise AssertionError("the client had twenty seconds of patience")

    with server(speak) as host:
        assert fails(f"http://{host}/", seconds=1).sent is True


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="half a head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", id="half a body"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
            id="two lengths",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{} ", id="two in one"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", id="no chunks"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", id="no end"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 200_000,
            id="an endless length",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000, id="an endless header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n", id="200 headers"),
        pytest.param(b"HTTP/1.1 999999999999 x\r\n\r\n", id="a status that is none"),
        pytest.param(b"HTTP/1.1 101 x\r\n\r\n", id="another protocol is offered"),
        pytest.param(b"HTTP/1.1 102 x\r\n\r\n" * 100, id="nothing but 102"),
        pytest.param(b"HTTP/1.1 100 x\r\n\r\n", id="go on, and nothing"),
    ],
)
def test_a_broken_answer_may_have_arrived(answer: bytes) -> None:
    with server(says(answer)) as host:
        assert fails(f"http://{host}/").sent is True


@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_a_1xx_is_no_answer(interim: str) -> None:
    head = f"HTTP/1.1 {interim}\r\nLink: </a>\r\n\r\n".encode()
    with server(says(head * 2 + b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")) as host:
        assert send(f"http://{host}/").status == 503


def test_an_address_that_cannot_be_written_surely_did_not_arrive() -> None:
    assert fails("http://\ud800.test/").sent is False


def test_a_body_that_cannot_be_written_surely_did_not_arrive() -> None:
    request = Request(method="POST", url="http://127.0.0.1:9/", body={"a": object()})
    with pytest.raises(TransportError) as caught:
        HttpTransport().send(request, seconds=1)
    assert caught.value.sent is False


def test_no_compression_is_asked_for_and_none_is_undone() -> None:
    heads: list[bytes] = []
    bomb = gzip.compress(b" " * 50_000_000, 9)

    def speak(connection: socket.socket) -> None:
        heads.append(hear(connection))
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % len(bomb) + bomb)

    with server(speak) as host:
        assert send(f"http://{host}/").body == bomb
    assert b"\r\naccept-encoding: identity\r\n" in heads[0].lower()


def test_no_length_that_an_answer_tells_makes_us_read_more() -> None:
    sent = [0]

    def speak(connection: socket.socket) -> None:
        hear(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        with suppress(OSError):  # the client hangs up
            while sent[0] < 64 * 1024 * 1024:
                sent[0] += connection.send(b" " * 65536)

    with server(speak) as host:
        assert fails(f"http://{host}/").sent is True
    assert sent[0] < 16 * 1024 * 1024


@pytest.mark.parametrize("answer", [b"Content-Length: 2\r\n\r\n{}", b"Content-Length: 0\r\n\r\n"])
def test_a_connection_is_used_again(answer: bytes) -> None:
    connections = []

    def speak(connection: socket.socket) -> None:
        connections.append(connection)
        while hear(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + answer)

    transport = HttpTransport()
    with server(speak) as host:
        for _ in range(3):
            transport.send(Request(method="GET", url=f"http://{host}/"), seconds=10)
        transport.close()
    assert len(connections) == 1


def test_a_request_is_written_in_one_go() -> None:
    writes = []

    def speak(connection: socket.socket) -> None:
        while write := connection.recv(65536):
            writes.append(write)
            if write.endswith(b"}"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    transport = HttpTransport()
    with server(speak) as host:
        for number in range(50):
            body = {"number": number}
            request = Request(method="POST", url=f"http://{host}/", body=body)
            transport.send(request, seconds=10)
        transport.close()
    assert len(writes) == 50


def test_a_refused_connection_surely_did_not_arrive() -> None:
    with server(says(b"")) as host:
        gone = host
    assert fails(f"http://{gone}/").sent is False


def test_a_name_that_is_not_known_surely_did_not_arrive() -> None:
    assert fails("http://network.invalid/").sent is False


def test_a_failed_handshake_surely_did_not_arrive() -> None:
    with server(says(b"this is not TLS at all, and long enough to be read as such\r\n")) as host:
        error = fails(f"https://{host}/")
    assert (error.sent, str(error)) == (False, "TLS failed")


def test_many_silent_addresses_do_not_buy_more_time(known_as: Callable[..., str]) -> None:
    with silence() as host:
        name = known_as(*[host] * 16)
        began = monotonic()
        error = fails(f"http://{name}/", seconds=1)
    assert (error.sent, str(error)) == (False, "could not connect in time")
    assert monotonic() - began < 4  # half a second each, it was eight


def test_a_silent_address_leaves_time_for_the_next(known_as: Callable[..., str]) -> None:
    with silence() as silent, server(says(b"HTTP/1.1 204 x\r\n\r\n")) as host:
        assert send(f"http://{known_as(silent, host)}/", seconds=4).status == 204


def test_what_is_looked_up_too_slowly_is_not_sent(known_as: Callable[..., str]) -> None:
    heard: list[bytes] = []

    def speak(connection: socket.socket) -> None:
        heard.append(hear(connection))
        connection.sendall(b"HTTP/1.1 204 x\r\n\r\n")

    with server(speak) as host:
        assert fails(f"http://{known_as(host, after=0.6)}/", seconds=1).sent is False
    assert not heard


def test_what_connecting_took_is_not_waited_for_once_more(known_as: Callable[..., str]) -> None:
    done = threading.Event()

    def speak(connection: socket.socket) -> None:
        hear(connection)
        done.wait(10)

    with silence() as silent, server(speak) as host:
        name = known_as(*[silent] * 8, host)
        began = monotonic()
        assert fails(f"http://{name}/", seconds=1).sent is True
        took = monotonic() - began
        done.set()
    assert took < 3  # half a second each, and then half a second for the answer


def test_a_name_with_an_impossible_label_surely_did_not_arrive() -> None:
    assert fails(f"http://{'a' * 64}.test/").sent is False


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    head = b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with server(says(head)) as host:
        assert send(f"http://{host}/").status == 302


def test_a_cookie_of_the_network_is_not_kept() -> None:
    heads: list[bytes] = []

    def speak(connection: socket.socket) -> None:
        heads.append(hear(connection))
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )

    transport = HttpTransport()
    with server(speak) as host:
        for _ in range(2):
            transport.send(Request(method="GET", url=f"http://{host}/"), seconds=10)
    assert len(heads) == 2
    assert not [head for head in heads if b"cookie" in head.lower()]


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:5001", True),
        ("http://127.9.9.9/", True),
        ("http://[::1]:80/", True),
        ("http://localhost/", True),
        ("http://network.test/", True),
        ("https://partnerlinks.io", False),
        ("http://127.0.0.1.example.org/", False),
        ("http://localhost.example.org/", False),
        ("http://10.0.0.1/", False),
        ("http://0.0.0.0/", False),
    ],
)
def test_what_counts_as_this_machine(url: str, here: bool) -> None:
    assert is_loopback(url) is here
