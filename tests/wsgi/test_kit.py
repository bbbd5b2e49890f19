"""The middleware serves a wrapped app, and neither needs Flask."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import create_environ, run_wsgi_app

from flask_s2s import S2S, Click, S2SMiddleware, Services, Settings
from flask_s2s.clock import Clock
from flask_s2s.testing import ManualClock, ScriptedTransport

KEY = "flask_s2s.click"
CONFIG = {"SECRET_KEY": "for-tests-only-0123456789", "S2S_TOKEN": "token", "TESTING": True}
Environ = dict[str, Any]


class StoppedClock(ManualClock):
    """A clock that cannot be read any more, once it is stopped."""

    stopped = False

    def now(self) -> datetime:
        if self.stopped:
            raise OSError("no clock")
        return super().now()


class Site:
    """A WSGI app that keeps the environ of each request, and signs a visitor up at /signup."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.transport = ScriptedTransport()
        self.services = Services.build(
            Settings.from_mapping(CONFIG), folder=folder, transport=self.transport, clock=clock
        )
        self.seen: list[Environ] = []
        self.app: Any = S2SMiddleware(self.inner, self.services)

    def inner(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        self.seen.append(environ)
        if environ["PATH_INFO"] == "/signup":
            self.services.track_signup(customer_key="42", environ=environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    def visit(self, path: str = "/", cookie: str = "", **environ: str) -> str:
        """Send one request; return the header that sets our cookie, or nothing."""
        base = create_environ(path, "http://127.0.0.1")
        base.update(environ, HTTP_COOKIE=cookie)
        body, status, headers = run_wsgi_app(self.app, base, buffered=True)
        assert (b"".join(body), status) == (b"ok", "200 OK")
        return headers.get("Set-Cookie", "")

    def clicks(self) -> list[str | None]:
        """The app's find on each request: a click's ID, or None; the key must be there."""
        found: list[Click | None] = [environ[KEY] for environ in self.seen]
        return [click.click_id if click else None for click in found]


MakeSite = Callable[[Clock], Site]


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    sites: list[Site] = []

    def make(clock: Clock) -> Site:
        sites.append(Site(tmp_path, clock))
        return sites[-1]

    yield make
    for site in sites:
        site.services.close()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site(ManualClock())


def test_the_app_finds_the_click_on_every_request(site: Site) -> None:
    cookie = site.visit("/?ps_xid=abc").partition(";")[0]
    site.visit(cookie=cookie)
    site.visit()
    site.visit(cookie="s2s=junk; s2s")
    site.visit("/?ps_xid=%00")
    site.visit("/?ps_xid=new", cookie)
    assert site.clicks() == ["abc", "abc", None, None, None, "new"]


def test_a_header_of_the_visitors_is_not_taken_for_the_click(site: Site) -> None:
    site.visit(HTTP_FLASK_S2S_CLICK="abc")
    assert site.clicks() == [None]


def test_a_sign_up_with_the_environ_goes_to_the_click(site: Site) -> None:
    cookie = site.visit("/?ps_xid=abc").partition(";")[0]
    site.visit("/signup", cookie)
    site.services.drain()
    [sent] = site.transport.requests
    assert sent.body is not None
    assert (sent.body["xid"], sent.body["customer_key"]) == ("abc", "42")


def test_a_click_that_cannot_be_read_leaves_the_page_alone(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    clock = StoppedClock()
    site = make_site(clock)
    clock.stopped = True
    with caplog.at_level(logging.ERROR, "flask_s2s"):
        site.visit()
    assert site.clicks() == [None]
    assert [r.action for r in caplog.records] == ["click.unreadable"]  # type: ignore[attr-defined]


def test_a_flask_app_pays_for_reading_the_click_only_when_it_asks(tmp_path: Path) -> None:
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.update(CONFIG)
    s2s = S2S(app)

    @app.get("/")
    def ordinary() -> list[str]:
        return [key for key in request.environ if key.startswith("flask_s2s")]

    @app.get("/ask")
    def ask() -> str:
        return str(s2s.current_click())

    client = app.test_client()
    assert client.get("/").json == []
    assert "click_id='abc'" in client.get("/ask?ps_xid=abc").text
    assert "click_id='abc'" in client.get("/ask").text
    assert client.get("/").json == []
    app.extensions["s2s"].close()


def test_a_mounted_site_keeps_its_path_and_shares_its_cookie(site: Site) -> None:
    site.app = DispatcherMiddleware(lambda *_: [], {"/shop": site.app})
    header = site.visit("/shop/signup?ps_xid=abc")
    assert [(e["SCRIPT_NAME"], e["PATH_INFO"]) for e in site.seen] == [("/shop", "/signup")]
    assert "; Path=/;" in header


@pytest.mark.parametrize("fix", ["around", "within"])
def test_the_cookie_is_for_the_host_that_the_visitor_sees(site: Site, fix: str) -> None:
    proxied = {"HTTP_X_FORWARDED_HOST": "www.shop.example", "HTTP_X_FORWARDED_PROTO": "https"}
    assert "Domain" not in site.visit("/?ps_xid=abc", **proxied)
    if fix == "around":
        site.app = ProxyFix(site.app, x_host=1)
    else:
        site.app.app = ProxyFix(site.app.app, x_host=1)
    header = site.visit("/?ps_xid=abc", **proxied)
    assert header.endswith("; Domain=shop.example; Secure")


ALONE = """
import sys
from flask_s2s import S2SMiddleware, Services, Settings
from flask_s2s.testing import ScriptedTransport

transport = ScriptedTransport()
secret = "for-tests-only-0123456789"
config = {"SECRET_KEY": secret, "S2S_TOKEN": "token", "S2S_WORKER": "external"}
services = Services.build(Settings.from_mapping(config), folder=sys.argv[1], transport=transport)
services.supervisor.prepare()

def app(environ, start_response):
    services.track_signup(customer_key="42", environ=environ)
    start_response("200 OK", [])
    return [environ["flask_s2s.click"].click_id.encode()]

environ = {"REQUEST_METHOD": "GET", "QUERY_STRING": "ps_xid=abc", "HTTP_HOST": "shop.example"}
started = []
body = S2SMiddleware(app, services)(environ, lambda *start: started.append(start))
print(b"".join(body), [name for name, _ in started[0][1]], services.drain())
print(transport.requests[0].body["xid"], "flask" in sys.modules)
"""


def test_capture_cookie_conversion_and_delivery_load_no_flask(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", ALONE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.stderr == ""
    assert done.stdout == "b'abc' ['Cache-Control', 'Set-Cookie'] 1\nabc False\n"
