"""Serve one site over real HTTP: `python -m tests.wsgi.serving MODULE SERVER PORT`.

`wsgiref` serves it with the protocol's validator on both sides of the middleware. `waitress` serves
it under the path /shop and behind a proxy that it trusts. The path /modules tells whether Flask has
been loaded into the process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server
from wsgiref.validate import validator

import waitress

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from flask_s2s import S2SMiddleware


def by_wsgiref(site: S2SMiddleware, port: int) -> None:
    site.app = validator(site.app)
    with make_server("127.0.0.1", port, telling(validator(site))) as server:
        server.serve_forever()


def by_waitress(site: S2SMiddleware, port: int) -> None:
    waitress.serve(
        telling(site),
        host="127.0.0.1",
        port=port,
        url_prefix="/shop",
        trusted_proxy="127.0.0.1",
        trusted_proxy_headers={"x-forwarded-host", "x-forwarded-proto"},
    )


def telling(site: WSGIApplication) -> WSGIApplication:
    """Answer /modules; leave all else to the site."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/modules":
            return site(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"flask" if "flask" in sys.modules else b"no flask"]

    return answer


SERVERS: dict[str, Callable[[S2SMiddleware, int], None]] = {
    "wsgiref": by_wsgiref,
    "waitress": by_waitress,
}

if __name__ == "__main__":
    module, server, listen = sys.argv[1:]
    SERVERS[server](import_module(module).application, int(listen))
