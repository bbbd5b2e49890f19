"""HTTP: one pooled `requests` session, whose connections bound each stage as a whole.

Redirects off, TLS verified, no retries of its own (only the worker retries). No compression is asked
for and none is undone: a few bytes of it can stand for hundreds of megabytes.

A time-out of `urllib3` bounds each address that a name stands for, and then each read: eight silent
addresses take eight times as long, and a byte a second would hold a worker for ever, past its
lease. So here the lookup, all addresses and the handshake have one time-out together, and an
answer is read through a file whose every read has only what is left of its time, and of its size.
Connecting may take up to half of an attempt's time, sending as much, and the answer what is left.
Looking a name up cannot be interrupted, so that alone may outlast the bound (how long, says the
machine's resolv.conf); nothing is sent after it then.

Whether anything of a request was sent is known here and nowhere else: a flag is set when its
first byte is given to the socket. No kind of error tells it (an answer with two lengths, a header
that cannot be sent and a proxy that refuses look alike by their types).

Requests go straight to a network, or through `S2S_PROXY`; the environment's proxies and CAs count
where `S2S_TRUST_ENV` says so, and its .netrc never (it would replace our credential). Through a proxy
TLS is the network's own: the proxy is asked for a way, and sees no request. This machine is always
asked directly.

`urllib3` writes the whole address of each request into its log (DEBUG), and some networks want their
key in it. Of ours it writes nothing: what an attempt was stands in its own row.
"""

from __future__ import annotations

import http.client
import io
import logging
import os
import re
import socket
import ssl
import sys
import threading
from collections.abc import Mapping
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, SSLError
from urllib3.util import Timeout
from urllib3.util.connection import allowed_gai_family

from .. import threads
from ..config.parsing import is_loopback
from ..config.settings import Settings
from ..errors import ConfigError, TransportError
from .credentials import Credentials, LoopbackOnly, OwnHostOnly
from .messages import MAX_ANSWER, Request, Response, Transport
from .network import Network

_READ_AT_ONCE = 4096
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

    def begin(self) -> None:
        """Begin a request: nothing of it is sent yet."""
        logging.getLogger("urllib3.connectionpool").addFilter(_of_others)
        self.busy, self.written, self.answer = True, False, None

    def give_up(self) -> bool:
        """End a request that failed; say whether a byte of it was given to a socket."""
        if self.answer is not None:
            # One whose head was refused is in nobody else's hands, and its socket is open.
            self.answer.close()
        return self.written

    def end(self) -> None:
        """End a request, whatever came of it."""
        self.busy = False


_wire = _Wire()


def _of_others(record: logging.LogRecord) -> bool:
    """Say whether what `urllib3` tells is of somebody else's request."""
    return not _wire.busy


class _NoTls(NewConnectionError):
    """The handshake failed: nothing of the request was sent."""


class _ProxyRefused(NewConnectionError):
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
            raise _NoTls(self, type(error).__name__) from error
        finally:
            self._connecting = False

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        except (OSError, http.client.HTTPException) as error:
            status = re.search(r"failed: ([0-9]{3})", str(error))
            raise _ProxyRefused(self, status[1] if status else "nothing") from error


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
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


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    """Connects as `_connect` does, through a proxy too."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


#: A process, and its real thread beside gevent's.
_Place = tuple[int, "int | None"]


def _place() -> _Place:
    return os.getpid(), threads.apart() if threads.GEVENT in sys.modules else None


class HttpTransport:
    """A `requests` session per process: a session made before a fork is never used after it.

    Under gevent a real thread has one of its own, which ends with it: no other could close it.
    """

    def __init__(
        self,
        *,
        connections: int = 8,
        proxy: str | None = None,
        ca_bundle: str | None = None,
        trust_env: bool = False,
    ) -> None:
        """Connect to nothing yet. Raises `ConfigError` for a CA bundle that cannot be read."""
        _check_bundle(ca_bundle)
        self._connections = connections
        self._proxies = {} if proxy is None else {"http": proxy, "https": proxy}
        self._verify: bool | str = ca_bundle or True
        self._trust_env = trust_env
        self._sessions: dict[_Place, requests.Session] = {}

    def send(self, request: Request, *, seconds: float) -> Response:
        _wire.begin()
        try:
            return self._send(request, seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the socket knows what was sent
            # Not chained: the message of a header that cannot be sent shows the secret in it.
            sent = _wire.give_up()
            raise TransportError(_problem(error, sent), sent=sent) from None
        finally:
            _wire.end()

    def close(self) -> None:
        """Close this process's connections; the next request opens new ones."""
        if session := self._sessions.pop(_place(), None):
            session.close()

    def _send(self, request: Request, seconds: float) -> Response:
        session = self._get_session()
        # As `prepare` does, but for cookies, of which there are none.
        prepared = requests.PreparedRequest()
        prepared.prepare_method(request.method)
        prepared.url = _address(request.url)
        headers = {**session.headers, "Content-Type": request.content_type, **request.headers}
        prepared.prepare_headers(headers)
        prepared.prepare_body(request.content, None)
        prepared.prepare_auth("")
        # A total: a pair of time-outs would give the answer its own, however long connecting took.
        bound: Any = Timeout(connect=seconds / 2, total=seconds)
        # Straight to the adapter: cookies, redirects and hooks, which a session would look for each
        # time, there are none.
        adapter = session.get_adapter(request.url)
        way = self._way(session, request.url)
        with adapter.send(prepared, stream=True, timeout=bound, **way) as answer:
            named = {name.lower(): value for name, value in answer.headers.items()}
            return Response(status=answer.status_code, headers=named, body=_read(answer.raw))

    def _way(self, session: requests.Session, url: str) -> dict[str, Any]:
        """Return the proxies and the CAs for this address."""
        if not (self._proxies or self._trust_env) or is_loopback(url):
            return {"proxies": {}, "verify": self._verify}
        proxies = dict(self._proxies)
        if not self._trust_env:
            return {"proxies": proxies, "verify": self._verify}
        merged = session.merge_environment_settings(url, proxies, True, self._verify, None)
        return {"proxies": dict(merged["proxies"]), "verify": merged["verify"]}

    def _get_session(self) -> requests.Session:
        place = _place()
        if (session := self._sessions.get(place)) is not None:
            return session
        if place[1] is not None:
            threads.at_end(self.close)
        # Of two threads that come first at once, one wins; the other's was never used.
        return self._sessions.setdefault(place, self._new_session())

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = self._trust_env
        session.headers["User-Agent"] = "flask-s2s"
        session.headers["Accept-Encoding"] = "identity"
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        adapter = _Adapter(pool_maxsize=self._connections, max_retries=0)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session


@lru_cache(maxsize=32)
def _address(url: str) -> str | None:
    """Return an address as it is sent. Most reports of a network go to one and the same."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    return prepared.url


def _read(raw: Any) -> bytes:
    """Read an answer's bytes as they come, up to `MAX_ANSWER`; a connection read to its end is kept."""
    content = b""
    for chunk in raw.stream(_READ_AT_ONCE, decode_content=False):
        content += chunk
        if len(content) >= MAX_ANSWER:
            break
    return content[:MAX_ANSWER]


def _problem(error: Exception, sent: bool) -> str:
    """Say what failed, in words of our own: those of others may show what was sent."""
    reason = _reason(error)
    if not sent:
        if isinstance(reason, _NoTls):
            return "TLS failed"
        if isinstance(reason, _ProxyRefused):
            return f"the proxy opened no way ({reason.status})"
        if isinstance(error, requests.exceptions.ProxyError):
            return "could not connect to the proxy"
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return "could not connect in time"
        if isinstance(reason, NewConnectionError):
            return "could not connect"
        return f"cannot be sent ({type(error).__name__})"
    if isinstance(error, requests.exceptions.ConnectionError):
        # Failures of TLS among them: one after the handshake is as ambiguous as any other.
        return "the connection broke"
    return f"no answer ({type(error).__name__})"


def _reason(error: Exception) -> object:
    reason = error.args[0] if error.args else None
    reason = getattr(reason, "reason", reason)
    return getattr(reason, "original_error", reason)  # where a proxy is to blame


def _check_bundle(path: str | None) -> None:
    if path is None or os.path.isdir(path):
        return
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        problem = f"cannot be read as certificates ({type(error).__name__})"
        raise ConfigError(
            "S2S_CA_BUNDLE", problem, "Name a file in PEM form, readable here."
        ) from None


def way_to(url: str, *, proxy: str | None, ca_bundle: str | None, trust_env: bool) -> str:
    """Say by which way a network is reached, for people: no password, and nothing where it is direct."""
    said = []
    if proxy is None and trust_env:
        proxy = requests.utils.get_environ_proxies(url).get(urlsplit(url).scheme)
    if proxy is not None and not is_loopback(url):
        said.append(f"through the proxy {urlsplit(proxy).netloc.rpartition('@')[2]}")
    if ca_bundle is not None:
        said.append(f"with the CAs of {ca_bundle}")
    return " ".join(said)


def transport_of(
    settings: Settings, networks: Mapping[str, Network], given: Transport | None
) -> OwnHostOnly:
    """Return an app's: what it was given, or HTTP, which stays on this machine under `TESTING`."""
    transport = given or HttpTransport(
        connections=settings.concurrency,
        proxy=settings.proxy,
        ca_bundle=settings.ca_bundle,
        trust_env=settings.trust_env,
    )
    if given is None:
        lanes = [lane for network in networks.values() for lane in network.lanes.values()]
        transport = LoopbackOnly(transport, lanes, settings.is_testing)
    return OwnHostOnly(transport, Credentials(networks.values()))
