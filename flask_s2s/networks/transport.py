"""HTTP bytes, behind a seam with one method.

`HttpTransport` is a pooled `requests` session: redirects off, TLS verified, no retries of its own
(only the worker retries), the answer cut at 64 KiB and the whole attempt bounded. It tells the one
thing the worker must know of a failure: whether the request may have arrived.

Connecting may take up to half of an attempt's time, sending as much, and the answer what is left.
Looking a name up cannot be interrupted, so that alone may outlast the bound (how long, says the
machine's resolv.conf); nothing is sent after it then.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError
from urllib3.util import Timeout
from werkzeug.test import Client

from ..errors import ConfigError, TransportError
from .connection import NoTls, Pool, TlsPool
from .network import Request, Response

MAX_ANSWER = 64 * 1024
#: What `requests` raises before it connects.
_UNSENDABLE = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    UnicodeEncodeError,
)


class Transport(Protocol):
    """Anything that turns a request into a response."""

    def send(self, request: Request, *, seconds: float) -> Response:
        """Send and wait at most `seconds`. Raises `TransportError`."""
        ...


class HttpTransport:
    """A `requests` session per process: a session made before a fork is never used after it."""

    def __init__(self, *, connections: int = 8) -> None:
        self._connections = connections
        self._sessions: dict[int, requests.Session] = {}

    def send(self, request: Request, *, seconds: float) -> Response:
        try:
            return self._send(request, seconds)
        except requests.exceptions.ConnectTimeout as error:
            raise TransportError("could not connect in time", sent=False) from error
        except requests.exceptions.ConnectionError as error:
            # Failures of TLS among them: one after the handshake is as ambiguous as any other.
            reason = _reason(error)
            if isinstance(reason, NoTls):
                raise TransportError("TLS failed", sent=False) from error
            refused = isinstance(reason, NewConnectionError)
            problem = "could not connect" if refused else "the connection broke"
            raise TransportError(problem, sent=not refused) from error
        except _UNSENDABLE as error:
            # Its message would show the header, and that is a secret.
            problem = f"cannot be sent ({type(error).__name__})"
            raise TransportError(problem, sent=False) from None
        except requests.exceptions.RequestException as error:
            raise TransportError(f"no answer ({type(error).__name__})", sent=True) from error

    def _send(self, request: Request, seconds: float) -> Response:
        body = None if request.body is None else json.dumps(request.body).encode()
        session = self._get_session()
        prepared = requests.PreparedRequest()
        headers = {**session.headers, "Content-Type": "application/json", **request.headers}
        prepared.prepare(request.method, request.url, headers=headers, data=body)
        # A total: a pair of time-outs would give the answer its own, however long connecting took.
        bound: Any = Timeout(connect=seconds / 2, total=seconds)
        # Straight to the adapter: cookies, proxies, redirects and hooks, which a session would look
        # for each time, there are none.
        adapter = session.get_adapter(request.url)
        with adapter.send(prepared, stream=True, timeout=bound) as answer:
            content = _read(answer)
            named = {name.lower(): value for name, value in answer.headers.items()}
            return Response(status=answer.status_code, headers=named, body=content)

    def _get_session(self) -> requests.Session:
        session = self._sessions.get(os.getpid())
        # Of two threads that come first at once, one wins; the other's was never used.
        return session or self._sessions.setdefault(os.getpid(), self._new_session())

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        # No environment: a .netrc would replace our Authorization header.
        session.trust_env = False
        session.headers["User-Agent"] = "flask-s2s"
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        adapter = HTTPAdapter(pool_maxsize=self._connections, max_retries=0)
        adapter.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": TlsPool}
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session


class LoopbackOnly:
    """Any transport, but a request to another machine is refused (used under `TESTING`)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(self, request: Request, *, seconds: float) -> Response:
        self.refuse_live(request.url)
        return self._transport.send(request, seconds=seconds)

    def refuse_live(self, url: str) -> None:
        """Raise `ConfigError` unless `url` names this machine."""
        if not is_loopback(url):
            raise ConfigError(
                "S2S_PARTNERSTACK_URL",
                f"is a live network ({urlsplit(url).hostname}) while TESTING is set",
                "Point it at the sandbox, or give S2S a transport: "
                "S2S(transport=ScriptedTransport()).",
            )


class WsgiTransport:
    """Sends to a WSGI app in this process: for tests against the sandbox without a socket."""

    def __init__(self, app: Callable[..., object]) -> None:
        self._client = Client(app)  # type: ignore[arg-type]

    def send(self, request: Request, *, seconds: float) -> Response:
        try:
            answer = self._client.open(
                urlsplit(request.url).path,
                query_string=urlsplit(request.url).query,
                base_url="http://127.0.0.1",
                method=request.method,
                headers=dict(request.headers),
                json=request.body,
            )
        except (TimeoutError, ConnectionError) as error:
            # How an app in the same process shows a network's silence.
            raise TransportError("no answer", sent=True) from error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(status=answer.status_code, headers=headers, body=answer.get_data())


def _read(answer: requests.Response) -> bytes:
    content = b""
    for chunk in answer.iter_content(4096):
        content += chunk
        if len(content) >= MAX_ANSWER:
            answer.close()
            break
    return content[:MAX_ANSWER]


def _reason(error: requests.exceptions.ConnectionError) -> object:
    reason = error.args[0] if error.args else None
    return getattr(reason, "reason", reason)


def is_loopback(url: str) -> bool:
    """Say whether `url` names this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith((".localhost", ".test")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
