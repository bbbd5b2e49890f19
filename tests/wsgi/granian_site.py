"""A site as granian serves it: a page that a cache of the app's keeps, a stream, and an error page."""

from __future__ import annotations

import os
from collections.abc import Iterator

from flask import Flask, Response
from flask_caching import Cache

from flask_s2s import S2S

application = Flask(__name__, instance_path=os.environ["FLASK_FOLDER"])
application.config.from_prefixed_env()
application.config["CACHE_TYPE"] = "SimpleCache"
s2s = S2S(application)
cache = Cache(application)


@application.get("/")
@cache.cached(timeout=600)
def landing() -> Response:
    page = Response("<a href='/stream'>on</a>")
    page.headers["Content-Security-Policy"] = "default-src 'self'"
    return page


@application.get("/stream")
def stream() -> Response:
    def pieces() -> Iterator[str]:
        yield from ("one ", "two ", "three")

    return Response(pieces(), 203, {"X-Stream": "yes"})


@application.post("/signup")
def signup() -> str:
    delivery = s2s.track_signup(customer_key="42")
    return delivery.reason if delivery else "nothing"
