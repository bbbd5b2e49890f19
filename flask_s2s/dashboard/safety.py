"""The pages' protection: headers on every answer, and the token that a form must bring.

A form is taken only from a page of this very site (`Sec-Fetch-Site`, else `Origin`), and only with
a token that this dashboard signed for this person and this purpose within the hour. So neither
another site's form nor a colleague's copied address acts in somebody's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from flask import Request, Response
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: How long a page with a form is good, in seconds.
FRESH = 3600
_SALT = "flask-s2s dashboard form of "
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}


class Forms:
    """Signs the forms of one dashboard, and judges what comes back."""

    def __init__(self, secret_keys: Sequence[str | bytes]) -> None:
        keys = [key.encode() if isinstance(key, str) else key for key in secret_keys]
        self._serializer = URLSafeTimedSerializer(keys)

    def token(self, who: str, purpose: str, *facts: Any) -> str:
        """Return a token for one form: for whom, what for, and on the strength of which facts."""
        # Signed with the person's name, and without it: a notice's token is in an address.
        token: str = self._serializer.dumps([purpose, *facts], salt=_SALT + who)
        return token

    def facts(self, request: Request, who: str, purpose: str) -> list[Any] | None:
        """Return the facts that a form was made with; None: it may change nothing."""
        if not is_from_here(request):
            return None
        return self.read(request.form.get("token", ""), who, purpose)

    def read(self, token: str, who: str, purpose: str) -> list[Any] | None:
        """Return the facts of a token; None: it is none for this person and purpose."""
        try:
            brought = self._serializer.loads(token, max_age=FRESH, salt=_SALT + who)
        except BadData:
            return None
        if not isinstance(brought, list) or brought[:1] != [purpose]:
            return None
        return brought[1:]


def is_from_here(request: Request) -> bool:
    """Say whether a form was sent by a page of this site, as far as the browser tells."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin")
    # Not parsed: what is no address is no reason to fail.
    return origin is None or origin.lower().partition("://")[2] == request.host.lower()


class _Protected(Response):
    """An answer whose headers stay, whatever the host's `after_request` sets: Flask runs that after ours."""

    lasting: Mapping[str, str] = HEADERS

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        headers = super().get_wsgi_headers(environ)
        headers.update(self.lasting)
        return headers


@cache
def _protected(kind: type[Response]) -> type[_Protected]:
    """Return the same class with lasting headers: the host's may have methods that its hooks call."""
    return type(kind.__name__, (_Protected, kind), {})


def protect(response: Response, *, cached: str = "private, no-store") -> Response:
    """Set the headers of an answer."""
    kind: Any = type(response)
    protected = _protected(kind).force_type(response)
    assert isinstance(protected, _Protected)
    protected.lasting = {**HEADERS, "Cache-Control": cached}
    protected.vary.add("Cookie")
    return protected
