"""The guard: requests that a page of somebody else could have made are refused.

The stand-in listens on loopback without a log-in, so any website open in the developer's browser
can reach it. Two doors are closed: a foreign name that resolves to loopback (the Host header must
be a known name), and a form on another site (a write must come from these pages or from a client
that is no browser). `same-site` does not suffice: the advertiser's demo runs on the same host.
"""

import ipaddress
import re
from collections.abc import Iterable

from flask import Flask, Response, abort, request

#: Reserved for tests and for loopback (RFC 6761), so that nobody else can own them.
SAFE_SUFFIXES = (".test", ".localhost")

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)


def install_guard(app: Flask, allowed_hosts: Iterable[str]) -> None:
    """Check Host and origin of every request, and set the pages' security headers."""
    allowed = frozenset(name.strip("[]").lower() for name in allowed_hosts)

    @app.before_request
    def check_host() -> None:
        name = host_name(request.environ.get("HTTP_HOST", request.host))
        if name is None or not (is_loopback(name) or name in allowed):
            abort(400, "This host name is not served here.")

    @app.before_request
    def check_origin() -> None:
        if request.path.startswith(("/conversion/", "/api/")):
            return  # authorised by a secret that no browser adds by itself
        if request.method not in ("GET", "HEAD", "OPTIONS") and not _is_own_origin():
            abort(403, "This form was sent by another site.")

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        if response.mimetype == "text/html" and not 300 <= response.status_code < 400:
            response.headers["Content-Security-Policy"] = PAGE_POLICY
            # Not `no-referrer`: that would make the Origin of these pages' own forms `null`.
            response.headers["Referrer-Policy"] = "same-origin"
            response.headers["Cache-Control"] = "no-store"
        return response


def host_name(header: str) -> str | None:
    """Return the name of a Host header without its port; None when it is malformed."""
    match = _HOST.fullmatch(header)
    return match[1].strip("[]").lower() if match else None


def is_loopback(name: str) -> bool:
    """Return whether a name or an address can only mean this machine."""
    if name == "localhost" or name.endswith(SAFE_SUFFIXES):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_own_origin() -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    # Without either header the client is no browser that could be tricked.
    return origin is None or origin == f"{request.scheme}://{request.host}"
