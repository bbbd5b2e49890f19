"""The line between client and network: it fails on request, and notes all that passes.

WSGI middleware around the application, because some faults happen to the connection rather than
in an answer. A server that can hold, drip or reset its connection says so in the environ
(`CONNECTION`); under any other server, and in process, the same ends are raised as the exceptions
that a client would see (`TimeoutError`, `ConnectionResetError`), without any waiting.
"""

import io
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response
from werkzeug.wsgi import get_input_stream

from flask_s2s.sandbox.books.moments import Clock, milliseconds
from flask_s2s.sandbox.books.posts import Posts
from flask_s2s.sandbox.books.requestlog import BODY_LENGTH, Entry, RequestLog, masked_credentials
from flask_s2s.sandbox.switches import AFTER_WRITE, Fault, FaultPlan, Switches

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Environ key of the server's `Connection`.
CONNECTION = "flask_s2s.sandbox.connection"

_EFFECTS = "flask_s2s.sandbox.effects"

MAX_BODY = 1_000_000

HTML_PAGE = (
    "<!doctype html><html lang=en><title>We'll be right back</title>"
    "<h1>We'll be right back</h1><p>Our team has been notified.</p></html>"
)


class Connection(Protocol):
    """A server's means to break the connection under a request."""

    def hang_up(self, after_seconds: float) -> NoReturn:
        """Hold the request without a byte of answer, then close the connection."""

    def reset(self) -> NoReturn:
        """Reset the connection at once."""

    def drip(self, response: Response, seconds: float) -> NoReturn:
        """Send an answer byte by byte over this time, then close the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request that has arrived whole."""

    traffic: Literal["click", "conversions", "api"]
    body: bytes
    #: Epoch milliseconds.
    at: int
    started: float
    #: The row of a conversion post; None for other traffic.
    post_id: int | None


class Line:
    """WSGI middleware: note, strike, pass on."""

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        plan: FaultPlan,
        log: RequestLog,
        posts: Posts,
        now: Clock,
    ) -> None:
        self._app = app
        self._plan = plan
        self._log = log
        self._posts = posts
        self._now = now

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Any:
        traffic = _traffic(environ["PATH_INFO"])
        if traffic is None:
            return self._app(environ, start_response)
        try:
            arrival = self._receive(environ, traffic)
        except RequestEntityTooLarge as refusal:
            return refusal(environ, start_response)
        fault, switches = (None, self._plan.switches)
        if traffic != "click":
            fault, switches = self._plan.draw(traffic)
        if fault is None or fault in AFTER_WRITE:
            response = Response.from_app(self._app, environ, buffered=True)
        else:
            response = Response()
        answer = _struck(fault, response, switches)
        for said in (response, answer):
            if said is not None:
                # The network's time is that of its books.
                said.date = self._now()
        self._note(environ, arrival, answer, fault)
        if answer is None or fault == "slow_bytes":
            _end(environ, fault, response, switches)
        return (answer or response)(environ, start_response)

    def _receive(
        self, environ: "WSGIEnvironment", traffic: Literal["click", "conversions", "api"]
    ) -> Arrival:
        started = time.perf_counter()
        environ[_EFFECTS] = []
        body = get_input_stream(environ, max_content_length=MAX_BODY).read()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        post_id = None
        if traffic == "conversions" and environ["REQUEST_METHOD"] == "POST":
            post_id = self._posts.receive(_customer_key(body))
        return Arrival(
            traffic=traffic,
            body=body,
            at=milliseconds(self._now()),
            started=started,
            post_id=post_id,
        )

    def _note(
        self,
        environ: "WSGIEnvironment",
        arrival: Arrival,
        answer: Response | None,
        fault: Fault | None,
    ) -> None:
        if arrival.post_id is not None and answer is not None:
            self._posts.answer(arrival.post_id, answer.status_code)
        query = environ.get("QUERY_STRING", "")
        self._log.append(
            Entry(
                number=self._log.next_number(),
                at=arrival.at,
                method=environ["REQUEST_METHOD"],
                path=environ["PATH_INFO"] + (f"?{query}" if query else ""),
                credentials=masked_credentials(environ.get("HTTP_AUTHORIZATION", "")),
                request_body=arrival.body[:BODY_LENGTH].decode("utf-8", "replace"),
                status=None if answer is None else answer.status_code,
                answer_body="" if answer is None else answer.get_data(as_text=True)[:BODY_LENGTH],
                effect=", ".join(environ[_EFFECTS]),
                fault=fault or "",
                milliseconds=(time.perf_counter() - arrival.started) * 1000,
            )
        )


def tell(environ: "WSGIEnvironment", effect: str) -> None:
    """Leave a word on what a request did, for the live log."""
    # A list, because servers and wrappers pass copies of the environ on.
    environ.setdefault(_EFFECTS, []).append(effect)


def _traffic(path: str) -> Literal["click", "conversions", "api"] | None:
    if path.startswith("/conversion/"):
        return "conversions"
    if path.startswith("/api/"):
        return "api"
    return "click" if path.startswith("/go/") else None


def _customer_key(body: bytes) -> str | None:
    try:
        key = json.loads(body)["customer_key"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    # An escaped half of a character cannot be stored; such a post is counted without its key.
    return key if isinstance(key, str) and key.isprintable() else None


def _struck(fault: Fault | None, response: Response, switches: Switches) -> Response | None:
    """Return the answer that a fault makes of a response; None when there will be none."""
    match fault:
        case None | "slow_bytes":
            return response
        case "too_many":
            return _error(429, "Too Many Requests")
        case "too_many_retry_after":
            refusal = _error(429, "Too Many Requests")
            refusal.headers["Retry-After"] = str(switches.retry_after_seconds)
            return refusal
        case "error_before_write" | "error_after_write":
            return _error(switches.error_status, "Something went wrong")
        case "html_page":
            return Response(HTML_PAGE, switches.html_status, mimetype="text/html")
        case "redirect":
            return Response("", 302, {"Location": "/sandbox/elsewhere"})
        case _:
            return None


def _error(status: int, message: str) -> Response:
    body = json.dumps({"message": message, "status": status})
    return Response(body, status, mimetype="application/json")


def _end(
    environ: "WSGIEnvironment", fault: Fault | None, response: Response, switches: Switches
) -> None:
    """End the connection as a fault wants it; returns only for a drip in process."""
    connection: Connection | None = environ.get(CONNECTION)
    if fault == "slow_bytes":
        if connection is not None:
            connection.drip(response, switches.slow_seconds)
    elif fault in ("timeout_before_write", "timeout_after_write"):
        if connection is not None:
            connection.hang_up(switches.hold_seconds)
        raise TimeoutError("the stand-in network gives no answer")
    else:
        if connection is not None:
            connection.reset()
        raise ConnectionResetError("the stand-in network reset the connection")
