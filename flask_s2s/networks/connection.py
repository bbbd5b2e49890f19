"""One connection to a network, each of whose stages is bounded as a whole.

A time-out of `urllib3` bounds each address that a name stands for, and then each read: eight silent
addresses take eight times as long, and a byte a second would hold a worker for ever, past its
lease. So here the lookup, all addresses and the handshake have one time-out together, and an
answer is read through a file whose every read has only what is left of its time, and of its size.

Whether anything of a request was sent is known here and nowhere else: a flag is set when its
first byte is given to the socket. No kind of error tells it (an answer with two lengths, a header
that cannot be sent and a proxy that refuses look alike by their types).

`urllib3` writes the whole address of each request into its log (DEBUG), and some networks want their
key in it. Of ours it writes nothing: what an attempt was stands in its own row.
"""

from __future__ import annotations

import http.client
import io
import logging
import re
import socket
import threading
from time import monotonic
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, SSLError
from urllib3.util.connection import allowed_gai_family

#: All addresses of a name together, once it is known, unless there is less left.
_CONNECT_SECONDS = 5.0
#: Bytes of one answer, its head included: no length that it tells makes us read more.
_LONGEST_ANSWER = 1024 * 1024
_LONGEST_LINE = 65536
#: How many answers that are none (1xx) may come before the answer.
_MOST_INTERIM = 8
_SWITCHING = 101


class _Wire(threading.local):
    """Each thread sends one request at a time."""

    busy = written = False
    answer: http.client.HTTPResponse | None = None


_wire = _Wire()


def begin() -> None:
    """Begin a request: nothing of it is sent yet."""
    logging.getLogger("urllib3.connectionpool").addFilter(_of_others)
    _wire.busy, _wire.written, _wire.answer = True, False, None


def end() -> None:
    """End a request, whatever came of it."""
    _wire.busy = False


def _of_others(record: logging.LogRecord) -> bool:
    """Say whether what `urllib3` tells is of somebody else's request."""
    return not _wire.busy


def give_up() -> bool:
    """End a request that failed; say whether a byte of it was given to a socket."""
    if _wire.answer is not None:
        # One whose head was refused is in nobody else's hands, and its socket is open.
        _wire.answer.close()
    return _wire.written


class NoTls(NewConnectionError):
    """The handshake failed: nothing of the request was sent."""


class ProxyRefused(NewConnectionError):
    """The proxy opened no way: nothing of the request was sent. `status` is its answer's."""

    def __init__(self, connection: HTTPConnection, status: str) -> None:
        super().__init__(connection, f"the proxy answered {status}")
        self.status = status


class _HurriedFile(io.RawIOBase):
    """A connection's bytes; all reads together get the socket's time-out, not each of them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._room = _LONGEST_ANSWER
        self._until = monotonic() + (sock.gettimeout() or _CONNECT_SECONDS)
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError("the answer came too slowly")
        if self._room <= 0:
            raise http.client.HTTPException("the answer is too long")
        self._sock.settimeout(left)
        read = self._file.readinto(buffer)
        self._room -= read or 0
        return read

    def close(self) -> None:
        self._file.close()
        super().close()


class _Lines(io.BufferedReader):
    """`http.client` takes a head that was cut off for a whole one: a 200 with nothing in it."""

    def readline(self, size: int | None = -1, /) -> bytes:
        # The length of a chunk is a line that is asked for without a bound.
        line = super().readline(_LONGEST_LINE if size is None or size < 0 else size)
        if not line:
            raise http.client.RemoteDisconnected("the answer was cut off")
        return line


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = _Lines(_HurriedFile(sock))
        _wire.answer = self

    def _read_status(self) -> tuple[str, int, str]:
        """Read on behind every 1xx: `http.client` knows one of them, and takes others for answers."""
        for _ in range(_MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200:
                return version, status, reason
            if status == _SWITCHING:
                break
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("no answer but 1xx")


class _Connection(HTTPConnection):
    """Writes a request in one go: between its head and its body, another thread would have its turn."""

    response_class = _Answer
    _connecting = _body_follows = False
    _head = b""

    def _new_conn(self) -> socket.socket:
        return _connect(self)

    def connect(self) -> None:
        super().connect()
        # Sending has a time of its own: cut short by what connecting took, it might have arrived.
        self.sock.settimeout(self.timeout)

    def request(self, method: str, url: str, body: Any = None, *args: Any, **kwargs: Any) -> None:
        self._body_follows, self._head = isinstance(body, bytes) and body != b"", b""
        super().request(method, url, body, *args, **kwargs)

    def send(self, data: Any) -> None:
        if self._body_follows:
            self._body_follows, self._head = False, data
            return
        if self._head:
            data, self._head = self._head + data, b""
        if self.sock is None:
            self.connect()
        # What asks a proxy for a way is no part of the request.
        _wire.written = _wire.written or not self._connecting
        super().send(data)


class _TlsConnection(_Connection, HTTPSConnection):
    def connect(self) -> None:
        self._connecting = True
        try:
            super().connect()
        except (OSError, SSLError) as error:
            raise NoTls(self, type(error).__name__) from error
        finally:
            self._connecting = False

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        except (OSError, http.client.HTTPException) as error:
            status = re.search(r"failed: ([0-9]{3})", str(error))
            raise ProxyRefused(self, status[1] if status else "nothing") from error


class Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _connect(connection: HTTPConnection) -> socket.socket:
    """Return a socket that has connected, with what is left of the time-out as its own."""
    until = monotonic() + float(connection.timeout or _CONNECT_SECONDS)
    host = connection._dns_host.strip("[]")
    try:
        found = socket.getaddrinfo(host, connection.port, allowed_gai_family(), socket.SOCK_STREAM)
        known = monotonic()
        sock = _first_to_answer(found, min(until, known + _CONNECT_SECONDS), connection)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "Connecting took too long") from error
    except (OSError, UnicodeError) as error:
        # UnicodeError: the name has a label that no name can have.
        raise NewConnectionError(connection, f"Could not connect: {error}") from error
    sock.settimeout(max(until - monotonic(), 0.001))  # with 0 it would never wait
    return sock


def _first_to_answer(found: list[Any], until: float, connection: HTTPConnection) -> socket.socket:
    """Try the addresses in turn; a silent one takes no more than its share of the time."""
    for left_to_try in range(len(found), 0, -1):
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError("no time was left to connect")
        try:
            return _dial(found[-left_to_try], left / left_to_try, connection.socket_options)
        except OSError:
            if left_to_try == 1:
                raise
    raise OSError("the name has no address")


def _dial(found: Any, seconds: float, options: Any) -> socket.socket:
    family, kind, protocol, _, address = found
    sock = socket.socket(family, kind, protocol)
    try:
        for option in options or ():
            sock.setsockopt(*option)
        sock.settimeout(seconds)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
