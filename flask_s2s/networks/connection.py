"""One connection to a network, each of whose stages is bounded as a whole.

A time-out of `urllib3` bounds each address that a name stands for, and then each read: eight silent
addresses take eight times as long, and a byte a second would hold a worker for ever, past its
lease. So here the lookup, all addresses and the handshake have one time-out together, and an
answer is read through a file whose every read has only what is left of its time.
"""

from __future__ import annotations

import http.client
import io
import socket
from time import monotonic
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, SSLError
from urllib3.util.connection import allowed_gai_family

#: All addresses of a name together, once it is known, unless there is less left.
_CONNECT_SECONDS = 5.0


class NoTls(NewConnectionError):
    """The handshake failed: nothing of the request was sent."""


class _HurriedFile(io.RawIOBase):
    """A connection's bytes; all reads together get the socket's time-out, not each of them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._until = monotonic() + (sock.gettimeout() or _CONNECT_SECONDS)
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError("the answer came too slowly")
        self._sock.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Lines(io.BufferedReader):
    """`http.client` takes a head that was cut off for a whole one: a 200 with nothing in it."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line:
            raise http.client.RemoteDisconnected("the answer was cut off")
        return line


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = _Lines(_HurriedFile(sock))


class _Connection(HTTPConnection):
    response_class = _Answer

    def _new_conn(self) -> socket.socket:
        return _connect(self)

    def connect(self) -> None:
        super().connect()
        # Sending has a time of its own: cut short by what connecting took, it might have arrived.
        self.sock.settimeout(self.timeout)


class _TlsConnection(HTTPSConnection):
    response_class = _Answer

    def _new_conn(self) -> socket.socket:
        return _connect(self)

    def connect(self) -> None:
        try:
            super().connect()
        except (OSError, SSLError) as error:
            raise NoTls(self, type(error).__name__) from error


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
