"""HTTP bytes, behind a seam with one method.

`HttpTransport` is a pooled `requests` session: redirects off, TLS verified, no retries of its own
(only the worker retries), the answer cut at 64 KiB and the whole attempt bounded. No compression is
asked for and none is undone: a few bytes of it can stand for hundreds of megabytes. It tells the one
thing the worker must know of a failure: whether the request may have arrived.

Requests go straight to a network, or through `S2S_PROXY`; the environment's proxies and CAs count
where `S2S_TRUST_ENV` says so, and its .netrc never (it would replace our credential). Through a proxy
TLS is the network's own: the proxy is asked for a way, and sees no request. This machine is always
asked directly.

Connecting may take up to half of an attempt's time, sending as much, and the answer what is left.
Looking a name up cannot be interrupted, so that alone may outlast the bound (how long, says the
machine's resolv.conf); nothing is sent after it then.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError
from urllib3.util import Timeout

from .. import threads
from ..config.parsing import is_loopback as is_loopback
from ..errors import ConfigError, TransportError
from . import connection
from .connection import NoTls, Pool, ProxyRefused, TlsPool
from .network import Lane, Request, Response

MAX_ANSWER = 64 * 1024
_READ_AT_ONCE = 4096
_POOLS = {"http": Pool, "https": TlsPool}


class _Adapter(HTTPAdapter):
    """Connects as `connection` does, through a proxy too."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class Transport(Protocol):
    """Anything that turns a request into a response."""

    def send(self, request: Request, *, seconds: float) -> Response:
        """Send and wait at most `seconds`. Raises `TransportError`."""
        ...


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
        connection.begin()
        try:
            return self._send(request, seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the socket knows what was sent
            # Not chained: the message of a header that cannot be sent shows the secret in it.
            sent = connection.give_up()
            raise TransportError(_problem(error, sent), sent=sent) from None
        finally:
            connection.end()

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


class LoopbackOnly:
    """Any transport, but a request to another machine is refused (used under `TESTING`)."""

    def __init__(self, transport: Transport, lanes: Sequence[Lane] = ()) -> None:
        self._transport = transport
        self._lanes = lanes

    def send(self, request: Request, *, seconds: float) -> Response:
        self.refuse_live(request.url)
        return self._transport.send(request, seconds=seconds)

    def refuse_live(self, url: str) -> None:
        """Raise `ConfigError` unless `url` names this machine."""
        if not is_loopback(url):
            named = (lane.address for lane in self._lanes if url.startswith(lane.base_url))
            raise ConfigError(
                next(named, "The address of a network"),
                f"is a live network ({urlsplit(url).hostname}) while TESTING is set",
                "Point it at the sandbox, or give S2S a transport: "
                "S2S(transport=ScriptedTransport()).",
            )


class Heard:
    """Any transport, whose answers tell the network's time to whoever hears it."""

    def __init__(self, transport: Transport, hear: Callable[[datetime], None]) -> None:
        self._transport = transport
        self._hear = hear

    def send(self, request: Request, *, seconds: float) -> Response:
        response = self._transport.send(request, seconds=seconds)
        if (date := response.date) is not None:
            self._hear(date)
        return response


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
        if isinstance(reason, NoTls):
            return "TLS failed"
        if isinstance(reason, ProxyRefused):
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
