"""The stand-in over real sockets: keep-alive, and faults below HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from flask_s2s.sandbox import SandboxServer, create_sandbox, serve
from tests.sandbox.caller import Caller, Clock
from tests.waiting import wait_until

PATIENCE = 20


@pytest.fixture
def caller(app: Flask, clock: Clock) -> Caller:
    return Caller(app, clock)


@pytest.fixture
def server(app: Flask) -> Iterator[SandboxServer]:
    with serve(app) as server:
        yield server


@pytest.fixture
def line(server: SandboxServer) -> Iterator[http.client.HTTPConnection]:
    """One connection to the stand-in."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    yield connection
    connection.close()


def post(connection: http.client.HTTPConnection, xid: str, key: str) -> Any:
    """Post a conversion over a connection; returns the answer, read whole."""
    body = json.dumps({"xid": xid, "customer_key": key})
    connection.request("POST", "/conversion/xid", body, {"Authorization": "Bearer sandbox-token"})
    answer = connection.getresponse()
    answer.read()
    return answer


def posting(xid: str, key: str) -> bytes:
    """Return the bytes of a conversion's request."""
    body = json.dumps({"xid": xid, "customer_key": key}).encode()
    head = (
        b"POST /conversion/xid HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer sandbox-token\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    return head + body


def test_connection_stays_open_between_requests(
    caller: Caller, line: http.client.HTTPConnection
) -> None:
    xid = caller.click()
    post(line, xid, "1")
    first = line.sock
    post(line, xid, "2")
    line.request("GET", "/sandbox/ledger?totals=1")
    totals = json.loads(line.getresponse().read())["totals"]

    assert line.sock is first is not None
    assert totals["customers"] == 2


def test_head_answers_without_a_body_and_keeps_the_connection(
    caller: Caller, line: http.client.HTTPConnection
) -> None:
    line.request("HEAD", "/")
    answer = line.getresponse()
    length = int(answer.headers["Content-Length"])
    answer.read()

    assert length > 0
    assert post(line, caller.click(), "1").status == 200


def test_old_client_gets_its_connection_closed(server: SandboxServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        sock.sendall(b"GET /go/ada HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 302 ")


@pytest.mark.parametrize("fault", ["reset_before_write", "reset_after_write"])
def test_reset_is_a_reset_on_the_wire(
    caller: Caller, line: http.client.HTTPConnection, fault: str
) -> None:
    xid = caller.click()
    caller.switch(**{fault: 1})

    with pytest.raises(ConnectionResetError) as caught:
        post(line, xid, "42")

    assert not isinstance(caught.value, http.client.RemoteDisconnected)
    assert len(caller.ledger()["customers"]) == (fault == "reset_after_write")


def test_timeout_holds_and_then_closes_without_a_byte(
    caller: Caller, line: http.client.HTTPConnection
) -> None:
    xid = caller.click()
    caller.switch(timeout_after_write=1, hold_seconds=0.1)

    with pytest.raises(http.client.RemoteDisconnected):
        post(line, xid, "42")

    assert len(caller.ledger()["customers"]) == 1


def test_client_with_less_patience_gives_up_while_the_write_stands(
    caller: Caller, server: SandboxServer
) -> None:
    xid = caller.click()
    caller.switch(timeout_after_write=1, hold_seconds=600)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=0.2)

    with pytest.raises(TimeoutError):
        post(connection, xid, "42")

    connection.close()
    assert len(wait_until(lambda: caller.ledger()["customers"], what="the write")) == 1


def test_slow_answer_comes_in_pieces_and_whole(caller: Caller, server: SandboxServer) -> None:
    xid = caller.click()
    caller.switch(slow_bytes=1, slow_seconds=1, success_body="json")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        sock.sendall(posting(xid, "42"))
        pieces = list(iter(lambda: sock.recv(65536), b""))

    assert len(pieces) > 1
    answer = b"".join(pieces)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 200


@pytest.mark.parametrize("goodbye", ["reset", "closed"])
def test_client_that_leaves_during_a_slow_answer_leaves_no_noise(
    caller: Caller, server: SandboxServer, capfd: pytest.CaptureFixture[str], goodbye: str
) -> None:
    xid = caller.click()
    caller.switch(slow_bytes=1, slow_seconds=2)
    before = set(threading.enumerate())
    sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    sock.sendall(posting(xid, "42"))
    assert sock.recv(1) == b"H"
    if goodbye == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    wait_until(lambda: set(threading.enumerate()) <= before, what="the end of the connection")

    assert capfd.readouterr().err == ""
    caller.switch()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        sock.sendall(posting(xid, "43"))
        assert sock.recv(12) == b"HTTP/1.1 200"


def test_stopping_ends_held_and_idle_connections(app: Flask, caller: Caller) -> None:
    server = serve(app)
    server.start()
    xid = caller.click()
    caller.switch(timeout_after_write=1, hold_seconds=600)
    held = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    idle = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    ended: list[Exception] = []

    def wait_for_answer() -> None:
        try:
            post(held, xid, "42")
        except OSError as error:
            ended.append(error)

    waiting = threading.Thread(target=wait_for_answer)
    waiting.start()
    wait_until(lambda: caller.ledger()["customers"], what="the write")
    server.stop()
    waiting.join(PATIENCE)

    assert len(ended) == 1
    assert idle.recv(1) == b""
    idle.close()
    held.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), PATIENCE)


def test_server_stops_once(app: Flask) -> None:
    server = serve(app)
    server.start()
    server.stop()
    server.stop()


def test_taken_port_is_an_error_not_an_exit(server: SandboxServer) -> None:
    with pytest.raises(OSError, match="in use"):
        serve(create_sandbox(), port=server.port)


def test_listens_before_it_is_started(app: Flask) -> None:
    server = serve(app)
    connection = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    connection.sendall(b"GET /go/ada HTTP/1.0\r\nHost: localhost\r\n\r\n")
    server.start()

    assert connection.recv(12) == b"HTTP/1.1 302"
    connection.close()
    server.stop()


def test_many_threads_lose_nothing_and_double_nothing(
    caller: Caller, server: SandboxServer
) -> None:
    xid = caller.click()

    def work(worker: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        for number in range(40):
            post(connection, xid, str(number))
        connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    ledger = caller.ledger()
    assert len(ledger["customers"]) == 40
    assert set(ledger["conversion_posts"].values()) == {8}


@pytest.mark.parametrize(
    "head",
    [
        b"POST /conversion/xid HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /conversion/xid HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n",
        b"POST /conversion/xid HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_body_of_untold_length_is_refused_and_the_connection_closed(
    server: SandboxServer, head: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        sock.sendall(head)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer


def test_waiting_client_is_told_to_go_on(caller: Caller, server: SandboxServer) -> None:
    body = json.dumps({"xid": caller.click(), "customer_key": "42"}).encode()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        sock.sendall(
            b"POST /conversion/xid HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Authorization: Bearer sandbox-token\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_books_survive_a_restart_in_a_file(tmp_path: Any) -> None:
    path = str(tmp_path / "network.db")
    before = Caller(create_sandbox(database=path), Clock())
    xid = before.click("grace", "sid=news")
    before.convert(xid, "42")

    after = Caller(create_sandbox(database=path), Clock())

    assert after.ledger()["customers"] == before.ledger()["customers"]
    assert after.convert(xid, "43").status_code == 200
