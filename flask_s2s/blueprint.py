"""Blueprints to register where you like: pages that are not this app's, and probes of the process.

A landing page of a CMS tells the app of the click by one `fetch` from its own script: for a page of
the same site alone, because a browser stores no Lax cookie that another site's script brings. To
another site a click goes by a link with a token for that host. On a page the link leads to this app
first, which makes the token when it is followed: so the page is the same for everybody, any cache
may keep it, and the token's ten minutes begin with the click.

Probes are for load balancers and Kubernetes. `alive` says that the process answers; nothing outside of
it can make that false, so a restart is the right cure where it fails. `ready` asks the outbox two
look-ups, and is 503 while it does not answer: no cure, but no reason to send visitors here either,
where another process is ready.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from flask import (
    Blueprint,
    Response,
    abort,
    after_this_request,
    current_app,
    jsonify,
    redirect,
    request,
    url_for,
)
from itsdangerous import BadData, URLSafeSerializer
from markupsafe import Markup
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.datastructures import Headers

from .capture.chain import has_token
from .capture.headers import for_one_visitor
from .capture.landing import refused_because
from .capture.token import host_of
from .capture.visitors import ROWLESS, Visit
from .errors import S2SError
from .host import current_services
from .middleware import Reply
from .services import Services
from .store.clicks import Bucket

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
log = logging.getLogger("flask_s2s.capture")

#: How long a browser may remember the answer to its preflight, in seconds.
_PREFLIGHT = "600"


class CaptureBlueprint(Blueprint):
    """Two addresses: `click` for the pages' script, and `to/...` for links to another site."""

    def __init__(self, *, rate: float, origins: Sequence[str] | None) -> None:
        super().__init__("s2s_elsewhere", __name__)
        self._bucket = Bucket(rate)
        self._origins = None if origins is None else frozenset(origins)
        #: Calls that were refused since the process started, by who called; and under `rate` the
        #: clicks that got a cookie and no row.
        self.refused: Counter[str] = Counter()
        add: dict[str, Any] = {"provide_automatic_options": False}
        self.add_url_rule("/click", "click", self._click, methods=["GET", "OPTIONS"], **add)
        # With a slash, because what follows a dot would look like the name of a file.
        self.add_url_rule("/to/<to>/", "leave", self._leave)

    def _click(self) -> Any:
        services, origin = current_services(), request.headers.get("Origin")
        why = refused_because(
            scheme=request.scheme,
            host=request.environ.get("HTTP_HOST", ""),
            origin=origin,
            came_from=request.headers.get("Sec-Fetch-Site"),
            whole_domain=services.settings.cookie_domain is not None,
            allowed=self._origins,
        )
        if why is not None:
            return self._refuse(why, 403)
        headers = {"Vary": "Origin", "Cache-Control": "private, no-store"}
        if origin is not None:
            headers |= {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Credentials": "true",
            }
        if request.method == "OPTIONS":
            headers |= {
                "Access-Control-Allow-Methods": "GET",
                "Access-Control-Max-Age": _PREFLIGHT,
            }
            return Response(status=204, headers=headers)
        if not self._bucket.take(services.clock.now()):
            # Whoever spends the rate must not shut out anybody: the cookie is set all the same.
            self.refused["rate"] += 1
            request.environ[ROWLESS] = True
        return self._capture(services, headers)

    def _capture(self, services: Services, headers: dict[str, str]) -> Any:
        environ, said = request.environ, Headers(headers)
        visit = services.visitors.fetch(environ)
        if visit is None:
            return Response(status=204, headers=said)
        return _replied(services, visit, said)

    def _refuse(self, why: str, status: int) -> Response:
        self.refused[why] += 1
        log.info("s2s.capture.refused: %s", why, extra={"action": "capture.refused"})
        return Response(status=status, headers={"Vary": "Origin"})

    def _leave(self, to: str) -> Any:
        services = current_services()
        try:
            url: str = _addresses(services).loads(to)
        except BadData:
            abort(404)
        return redirect(hand_over(url))


def hand_over(url: str) -> str:
    """Return `url` with the current visitor's click for its host; see `S2S.hand_over`."""
    services = current_services()
    over = services.visitors.hand_over(request.environ, url)
    if over != url:
        after_this_request(_for_them_alone)
    return over


def state(own: str) -> str:
    """Return `own` with the current visitor's click in it; see `S2S.state`."""
    with_click = current_services().visitors.state(request.environ, own)
    if with_click != own:
        after_this_request(_for_them_alone)
    return with_click


def from_state(came: str | None) -> str:
    """Return the site's own part of a state that came back; see `S2S.from_state`."""
    return current_services().visitors.from_state(request.environ, came or "")


def _for_them_alone(response: Response) -> Response:
    response.headers = Headers(for_one_visitor(response.headers.to_wsgi_list()))
    return response


def link(url: str) -> str:
    """Return what a page links to, for a click to reach `url`: `{{ s2s_hand_over(url) }}`."""
    services = current_services()
    if host_of(url) in (None, request.host.lower()):
        return url
    for name, blueprint in current_app.blueprints.items():
        # Within another blueprint it has that one's name before its own.
        if isinstance(blueprint, CaptureBlueprint):
            return url_for(f"{name}.leave", to=_addresses(services).dumps(url))
    return hand_over(url)


def _addresses(services: Services) -> URLSafeSerializer:
    """Signs addresses, so that nobody else's link is redirected from here."""
    keys: list[Any] = list(services.settings.secret_keys)
    return URLSafeSerializer(keys, salt="flask-s2s.to")


def _replied(services: Services, visit: Visit, headers: Headers) -> WSGIApplication:
    """Return an empty answer that does for the visit what a landing page's does."""

    def nothing(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("204 NO CONTENT", headers.to_wsgi_list())
        return []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        came_with = has_token(environ)
        return Reply(services, environ, start_response, visit, has_token=came_with).of(nothing)

    return app


def template_helpers() -> dict[str, Callable[..., Any]]:
    """Return what templates may call; two of them do nothing any more."""
    return {"s2s_hand_over": link, "s2s_field": field, "s2s_url_for": address}


def field() -> Markup:
    """Return nothing: `{{ s2s_field() }}`."""
    _tell("s2s_field")
    return Markup()


def address(endpoint: str, **values: Any) -> str:
    """Return `url_for(endpoint, ...)`."""
    _tell("s2s_url_for")
    return url_for(endpoint, **values)


@cache
def _tell(name: str) -> None:
    log.warning(
        "s2s.template.deprecated: %s() does nothing any more and goes in the next release; "
        "take it out of your templates",
        name,
        extra={"action": "template.deprecated"},
    )


def probes(services: Callable[[], Services]) -> Blueprint:
    """Return the blueprint; see `S2S.probes`."""
    blueprint = Blueprint("s2s_probes", __name__)

    @blueprint.get("/alive")
    def alive() -> Any:
        return jsonify(alive=True)

    @blueprint.get("/ready")
    def ready() -> Any:
        try:
            oldest, seen = services().supervisor.heartbeat.pulse()
        except (S2SError, SQLAlchemyError, OSError) as error:
            return jsonify(ready=False, problem=type(error).__name__), 503
        times = {"oldest_due": oldest, "worker_seen": seen}
        return jsonify(ready=True, **{name: at and at.isoformat() for name, at in times.items()})

    return blueprint
