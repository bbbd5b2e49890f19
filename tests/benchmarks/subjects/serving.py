"""A request to a bare Flask app, and to the same app with the extension."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

from flask_s2s import S2S
from tests.benchmarks.marks import Once, run_cases

BROWSER = {
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "www.shop.example",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36",
    "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "HTTP_ACCEPT_LANGUAGE": "en-GB,en;q=0.9",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
    "HTTP_SEC_FETCH_DEST": "document",
    "HTTP_SEC_FETCH_MODE": "navigate",
    "HTTP_SEC_FETCH_SITE": "cross-site",
    "HTTP_COOKIE": "theme=dark; session=eyJ1c2VyIjo0Mn0.aNc0Zg.0123456789abcdefghijklmnop",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "https",
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.errors": sys.stderr,
}
#: What a browser says when a page of the site led here.
LED = {"HTTP_REFERER": "https://www.shop.example/catalogue?page=1&sort=newest&utm_source=letter"}
ORDINARY = "page=2&sort=newest&utm_source=letter"
#: Today's shape of a landing, for one click ID of 14 characters.
LANDING = (
    "utm_source=partner&ps_xid={xid}&gsxid={xid}&ps_partner_key=YWRhbG92ZWxhY2U"
    "&gspk=YWRhbG92ZWxhY2U&sid=newsletter"
)


def bare(folder: Path) -> Flask:
    app = Flask("shop", instance_path=str(folder))
    app.config["SECRET_KEY"] = "benchmark" * 4

    @app.get("/")
    def landing() -> str:
        return "<!doctype html><title>Shop</title><h1>Welcome</h1>"

    return app


def extended(folder: Path, **settings: Any) -> Flask:
    app = bare(folder)
    app.config.update(S2S_WORKER="external", **settings)
    s2s = S2S(app)
    with app.app_context():
        # A thread does so beside the first request, and may take longer than those that do not count.
        s2s.services.supervisor.prepare()
    return app


def cookie_only(folder: Path) -> Flask:
    """No row is ever stored."""
    return extended(folder, S2S_CLICK_RATE=0)


def with_row(folder: Path) -> Flask:
    """A row for each click: the cap, which protects a database, is far away."""
    return extended(folder, S2S_CLICK_RATE=1e9)


def case(make: Callable[[Path], Flask], query: str, **more: str) -> Callable[[Path], Once]:
    def prepare(folder: Path) -> Once:
        app = make(folder)

        def once(number: int) -> None:
            answer: list[Any] = []
            environ = {
                **BROWSER,
                **more,
                "REQUEST_METHOD": "GET",
                "SCRIPT_NAME": "",
                "PATH_INFO": "/",
                "QUERY_STRING": query.format(xid=f"{number:014d}"),
                "wsgi.input": io.BytesIO(),
            }
            body = app(environ, lambda *start: answer.append(start))  # type: ignore[arg-type]
            assert b"".join(body)
            body.close()  # type: ignore[attr-defined]
            assert answer[0][0] == "200 OK"

        return once

    return prepare


CASES = {
    "ordinary-bare": case(bare, ORDINARY),
    "ordinary": case(with_row, ORDINARY),
    "landing-bare": case(bare, LANDING),
    "landing-cookie": case(cookie_only, LANDING),
    "landing-row": case(with_row, LANDING),
    "led-bare": case(bare, ORDINARY, **LED),
    "led": case(with_row, ORDINARY, **LED),
}

if __name__ == "__main__":
    sys.exit(run_cases(CASES, sys.argv[1:]))
