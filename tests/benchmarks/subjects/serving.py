"""A request to a bare Flask app, and to the same app with the extension."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, render_template
from jinja2 import DictLoader

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
ORDINARY = "page=2&sort=newest&utm_source=letter"
#: Today's shape of a landing, for one click ID of 14 characters.
LANDING = (
    "utm_source=partner&ps_xid={xid}&gsxid={xid}&ps_partner_key=YWRhbG92ZWxhY2U"
    "&gspk=YWRhbG92ZWxhY2U&sid=newsletter"
)
#: A page of 20 KB as shops have them: 104 links, of which 92 lead to pages of its own, and two forms.
CATALOGUE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Everything for the garden</title>
<link rel="stylesheet" href="/static/shop.css"><script src="/static/shop.js" defer></script>
<style>.card { border: 1px solid #ccc; padding: 1rem }</style></head>
<body><header><nav>
{% for name in names[:12] %}<a class="top" href="/{{ name }}?from=menu">{{ name|title }}</a>
{% endfor %}</nav><form action="/search"><input name="q" placeholder="Search"></form></header>
<main>{% for name in names %}
<article class="card" id="{{ name }}"><a href="/{{ name }}"><img src="/static/{{ name }}.jpg"
 alt="" width="320" height="240" loading="lazy"></a>
<h3><a href="/{{ name }}#about">{{ name|title }}</a></h3>
<p>Sown in spring and watered now and then, it is in flower until the first frost of the year.
Comes in a pot of clay, with a note on where it likes to stand and what it does not bear.</p>
<p class="price">{{ "%.2f"|format(loop.index * 1.25) }} EUR</p></article>{% endfor %}
</main><aside>{% for name in names[:12] %}
<a href="https://plants.example.org/{{ name }}" rel="noopener">Read about {{ name }}</a>{% endfor %}
<form method="post" action="/letter"><input type="email" name="email"><button>Write to me</button>
</form></aside><script>window.shop = { pages: "<a href='/'>", count: {{ names|length }} };</script>
</body></html>
"""
NAMES = [f"{colour}-{plant}" for colour in ("red", "blue", "white", "late", "wild") for plant in (
    "aster", "dahlia", "iris", "lupin", "poppy", "rose", "tulip", "violet",
)]  # fmt: skip


def bare(folder: Path) -> Flask:
    app = Flask("shop", instance_path=str(folder))
    app.config["SECRET_KEY"] = "benchmark"
    app.jinja_loader = DictLoader({"catalogue.html": CATALOGUE})

    @app.get("/")
    def landing() -> str:
        return "<!doctype html><title>Shop</title><h1>Welcome</h1>"

    @app.get("/catalogue")
    def catalogue() -> str:
        return render_template("catalogue.html", names=NAMES)

    return app


def extended(folder: Path, **settings: Any) -> Flask:
    app = bare(folder)
    app.config.update(S2S_WORKER="external", **settings)
    S2S(app)
    return app


def cookie_only(folder: Path) -> Flask:
    """No row is ever stored."""
    return extended(folder, S2S_CLICK_RATE=0)


def with_row(folder: Path) -> Flask:
    """A row for each click: the cap, which protects a database, is far away."""
    return extended(folder, S2S_CLICK_RATE=1e9)


def carrying(folder: Path) -> Flask:
    """No row, and every link and form of a page that a visitor lands on is filled."""
    return extended(folder, S2S_CLICK_RATE=0, S2S_CARRY="auto")


def case(make: Callable[[Path], Flask], query: str, path: str = "/") -> Callable[[Path], Once]:
    def prepare(folder: Path) -> Once:
        app = make(folder)

        def once(number: int) -> None:
            answer: list[Any] = []
            environ = {
                **BROWSER,
                "REQUEST_METHOD": "GET",
                "SCRIPT_NAME": "",
                "PATH_INFO": path,
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
    "ordinary-carrying": case(carrying, ORDINARY),
    "page-bare": case(bare, LANDING, "/catalogue"),
    "page-filled": case(carrying, LANDING, "/catalogue"),
}

if __name__ == "__main__":
    sys.exit(run_cases(CASES, sys.argv[1:]))
