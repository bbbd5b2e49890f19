"""A small site to land on, and requests to it as a server hands them over.

Requests are raw WSGI environs: a test client would tidy up the very things that are tested here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, jsonify, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from werkzeug.test import create_environ, run_wsgi_app

from flask_s2s import S2S, Click, Services
from flask_s2s.capture.cookie import read_cookies
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.waiting import wait_until

HOST = "www.shop.example"
SECRET = "a secret of this site"
PAGE = b"<h1>Welcome</h1>"

WSGIApp = Callable[..., Iterable[bytes]]


@dataclass(frozen=True)
class Answer:
    """The answer that the visitor's browser got."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def cookie(self) -> str | None:
        """The Set-Cookie header that keeps our cookie."""
        set_now = self.values("Set-Cookie")
        found = [v for v in set_now if v.startswith("s2s=") and not v.startswith("s2s=;")]
        assert len(found) <= 1
        return found[0] if found else None

    @property
    def record(self) -> str | None:
        return None if self.cookie is None else self.cookie.partition(";")[0].partition("=")[2]

    @property
    def attributes(self) -> dict[str, str]:
        """The cookie's attributes, names in lower case."""
        pairs = [part.strip().partition("=") for part in (self.cookie or "").split(";")[1:]]
        return {name.lower(): value for name, _, value in pairs}


def visit(
    app: WSGIApp,
    query: str = "",
    *,
    path: str = "/",
    host: str = HOST,
    method: str = "GET",
    scheme: str = "http",
    cookie: str | None = None,
    **environ: Any,
) -> Answer:
    """Send one request, with `query` and `cookie` byte for byte as given."""
    base = create_environ(path, f"{scheme}://{HOST}", method=method)
    base.update(QUERY_STRING=query, HTTP_HOST=host, **environ)
    if cookie is not None:
        base["HTTP_COOKIE"] = cookie
    body, status, headers = run_wsgi_app(app, base, buffered=True)
    return Answer(status, list(headers), b"".join(body))


def make_app(folder: Path, config: dict[str, Any]) -> Flask:
    """A site without the extension: what a page looks like when nobody touches it."""
    app = Flask(__name__, instance_path=str(folder))
    app.config.from_mapping(SECRET_KEY=SECRET, TESTING=True)
    app.config.update(config)

    @app.route("/", methods=["GET", "POST"])
    @app.route("/<path:path>", methods=["GET", "POST"])
    def page(path: str = "") -> bytes:
        return PAGE

    return app


class Site:
    """A site with the extension, on a clock that stands still until it is moved."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.clock = ManualClock()
        self.transport = ScriptedTransport()
        self.s2s = S2S(transport=self.transport, clock=self.clock)
        self.app = make_app(folder, config)
        self.app.add_url_rule("/click", view_func=self._click)

    def host(self, url: str) -> SQLAlchemy:
        """Give the site a database of its own, whose tables the extension is to use."""
        self.app.config["SQLALCHEMY_DATABASE_URI"] = url
        database = SQLAlchemy()
        database.init_app(self.app)
        return database

    def start(self) -> Site:
        self.s2s.init_app(self.app)
        return self

    @property
    def services(self) -> Services:
        services = self.app.extensions["s2s"]
        assert isinstance(services, Services)
        return services

    def visit(self, query: str = "", **request: Any) -> Answer:
        return visit(self.app, query, **request)

    def land(self, query: str) -> Answer:
        """Visit, and wait for a row that came later than the landing waited for it."""
        answer = self.visit(query)
        late = self.services.touches.skipped
        wait_until(lambda: not late["failed"], what=f"the row of {query[:40]} is stored")
        return answer

    def click_seen(self, query: str = "", **request: Any) -> Any:
        """The answer of `current_click()` to a view: click ID, partner key, sub IDs, link host, time."""
        answer = self.visit(query, path="/click", **request)
        if answer.status == "302 Found" and "s2s_xid=" in query:
            # A token that does not count here is taken out of the address first.
            return self.click_seen(answer.values("Location")[0].partition("?")[2], **request)
        assert answer.status == "200 OK"
        return self.app.json.loads(answer.body)

    def load(self, answer: Answer) -> Click | None:
        """The click in the cookie that a response set."""
        if answer.record is None:
            return None
        click = self.services.signer.loads(answer.record, self.clock.now())
        assert isinstance(click, Click)
        return click

    def rows(self) -> list[dict[str, Any]]:
        """The touch history, oldest first."""
        clicks = self.services.storage.tables.click
        with self.services.storage.engine().connect() as connection:
            found = connection.execute(select(clicks).order_by(clicks.c.id)).mappings()
            return [dict(row) for row in found]

    def close(self) -> None:
        self.services.supervisor.embedded.stop()
        self.services.storage.engine().dispose()

    def _click(self) -> Any:
        assert request.path == "/click"
        click = self.s2s.current_click()
        if click is None:
            return jsonify(None)
        at = click.at.timestamp()
        return jsonify(
            [click.click_id, click.partner_key, list(click.sub_ids), click.link_host, at]
        )


def cookie_of(answer: Answer) -> str:
    """The Cookie header that a browser sends back."""
    assert answer.record is not None
    header = f"s2s={answer.record}"
    assert read_cookies(header, "s2s") == [answer.record]
    return header


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(tmp_path: Path) -> Iterable[MakeSite]:
    """Makes sites with settings: `make_site(S2S_COOKIE_DOMAIN=None)`."""
    sites: list[Site] = []

    def make(**config: Any) -> Site:
        site = Site(tmp_path / f"site{len(sites)}", config).start()
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A site with the default settings and a database of its own."""
    return make_site()
