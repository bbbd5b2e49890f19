"""The request that a browser makes before anybody looks, and the one that a service worker makes for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from flask import Flask, Response, request
from playwright.sync_api import Playwright
from sqlalchemy import select

from flask_s2s import S2S
from flask_s2s.testing import ScriptedTransport
from tests.browsers.chromium import BLOCKED, FLAGS, Chromium
from tests.browsers.web import PARTNER, SHOP, Door
from tests.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: A certificate of loopback must be as good as any: else nothing is fetched early, and no worker runs.
TRUSTING = [*FLAGS, "--ignore-certificate-errors"]
#: How service workers usually ask for a page.
WORKERS = {
    "plain": "event.respondWith(fetch(event.request))",
    "options": "event.respondWith(fetch(event.request, {cache: 'no-store'}))",
    "anew": "event.respondWith(fetch(new Request(event.request, {credentials: 'include'})))",
    "preloaded": "event.respondWith(event.preloadResponse.then(r => r || fetch(event.request)))",
}
PAGE = """<!doctype html><title>{title}</title>
<a href="/join">Join</a><form method="post" action="/signup"><button>Sign up</button></form>"""
RULES = """<script type="speculationrules">
{{"{how}": [{{"source": "list", "urls": ["{url}"], "eagerness": "immediate"}}]}}</script>"""
#: What another page makes of an address without anybody having followed it.
STUFFED = """<iframe src="{0}frame"></iframe><img src="{0}image"><script src="{0}script"></script>
<link rel="stylesheet" href="{0}style"><object data="{0}object"></object><embed src="{0}embed">
<script>fetch("{0}fetch", {{mode: "no-cors", credentials: "include"}})</script>"""


class Site:
    """A shop and a page of a partner's, and what browsers asked of the shop."""

    def __init__(self) -> None:
        self._doors, self._folder = (Door(), Door()), TemporaryDirectory()
        self.shop, self.partner = self._doors[0].at(SHOP), self._doors[1].at(PARTNER)
        self.app = app = Flask(__name__, instance_path=self._folder.name)
        app.config.update(SECRET_KEY="a key that is for tests", TESTING=True)
        self._s2s = S2S(app, transport=ScriptedTransport())
        self.services = app.extensions["s2s"]
        self.services.storage.create()
        #: Of each request for a page: its query string and what it was for.
        self.asked: list[tuple[str, str]] = []
        app.add_url_rule("/", view_func=lambda: self._page("Landing"), endpoint="landing")
        app.add_url_rule("/join", view_func=lambda: self._page("Join"), endpoint="join")
        app.add_url_rule("/<how>/<name>", view_func=self._early, endpoint="early")
        app.add_url_rule("/worker/<how>.js", view_func=_worker, endpoint="worker")
        app.add_url_rule("/signup", view_func=self._join, methods=["POST"])
        self._doors[0].open(app)
        self._doors[1].open(self._partner)

    def close(self) -> None:
        for door in self._doors:
            door.close()
        self.services.close()
        self._folder.cleanup()

    def rows(self) -> list[str]:
        return [row["click_id"] for row in self._select(self.services.storage.tables.click)]

    def reason(self, name: str) -> str:
        rows = self._select(self.services.storage.tables.delivery)
        return next((row["reason"] for row in rows if row["click_id"] == name), "")

    def _select(self, table: Any) -> list[Any]:
        with self.services.storage.engine().connect() as connection:
            return list(connection.execute(select(table)).mappings())

    def _page(self, title: str) -> str:
        early = request.headers.get("Sec-Purpose", "") or request.headers.get("Purpose", "")
        self.asked.append((request.query_string.decode(), early))
        return PAGE.format(title=title)

    def _early(self, how: str, name: str) -> str:
        url = f"/?ps_xid={name}"
        return f'<title>Before</title><a href="{url}">Go</a>{RULES.format(how=how, url=url)}'

    def _join(self) -> str:
        self._s2s.track_signup(customer_key=str(len(self.asked)))
        return "<title>Welcome</title>"

    def _partner(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        how, _, name = environ["PATH_INFO"].strip("/").partition("/")
        url = f"{self.shop}/?ps_xid={name}"
        pages = {
            "prefetch": f'<a href="{url}">Go</a>{RULES.format(how="prefetch", url=url)}',
            "link": f'<a href="{url}">Go</a><link rel="prefetch" as="document" href="{url}">',
            "stuffing": f'<a href="{url}">Go</a>{STUFFED.format(url)}',
        }
        start_response("200 OK", [("Content-Type", "text/html")])
        return [f"<!doctype html><title>Partner</title>{pages.get(how, '')}".encode()]


def _worker(how: str) -> Response:
    script = f"""
    self.addEventListener('activate', event => event.waitUntil((async () => {{
      if ({str(how == "preloaded").lower()}) await self.registration.navigationPreload.enable();
      await clients.claim() }})()));
    self.addEventListener('fetch', event => {{ {WORKERS[how]} }})"""
    headers = {"Service-Worker-Allowed": "/"}
    return Response(script, mimetype="text/javascript", headers=headers)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture(params=[None, BLOCKED], ids=["cookies", "no cookies"])
def visitor(
    request: pytest.FixtureRequest, playwright: Playwright, chromium_path: str, tmp_path: Path
) -> Iterator[Chromium]:
    """One who keeps cookies, or none."""
    browser = Chromium(playwright, chromium_path, tmp_path, cookies=request.param, flags=TRUSTING)
    browser.start()
    yield browser
    browser.stop()


@pytest.fixture
def trusting(playwright: Playwright, chromium_path: str, tmp_path: Path) -> Iterator[Chromium]:
    """A browser that runs service workers."""
    browser = Chromium(playwright, chromium_path, tmp_path, flags=TRUSTING)
    browser.start()
    yield browser
    browser.stop()


def sign_up(browser: Chromium, site: Site, name: str) -> str:
    browser.page.get_by_role("button", name="Sign up").click()
    wait_until(lambda: browser.title == "Welcome", what="the sign-up")
    return wait_until(lambda: site.reason(name), what=f"the delivery of {name}")


@pytest.mark.parametrize("how", ["prefetch", "prerender"])
@pytest.mark.parametrize("on", ["landing", "next page"])
def test_a_page_that_was_fetched_early_is_settled_by_the_next(
    visitor: Chromium, site: Site, how: str, on: str
) -> None:
    visitor.type(f"{site.shop}/{how}/early")
    wait_until(lambda: site.asked, what="the early request")
    assert [early.partition(";")[0] for _, early in site.asked] == ["prefetch"]
    assert site.rows() == []
    assert visitor.page.context.cookies() == []
    visitor.page.get_by_role("link", name="Go").click()
    wait_until(lambda: visitor.title == "Landing", what="the landing")
    if on == "next page":
        visitor.page.get_by_role("link", name="Join").click()
        wait_until(lambda: visitor.title == "Join", what="the next page")
    assert sign_up(visitor, site, "early") in ("carried", "cookie")


@pytest.mark.parametrize("how", ["prefetch", "link"])
def test_a_partners_page_that_fetches_its_link_early_loses_nobody(
    visitor: Chromium, site: Site, how: str
) -> None:
    visitor.type(f"{site.partner}/{how}/early")
    visitor.settle()
    visitor.page.get_by_role("link", name="Go").click()
    wait_until(lambda: visitor.title == "Landing", what="the landing")
    assert sign_up(visitor, site, "early") in ("carried", "cookie")


@pytest.mark.parametrize("how", WORKERS)
def test_a_page_that_a_service_worker_forwards_is_a_landing_and_nothing_else_is(
    trusting: Chromium, site: Site, how: str
) -> None:
    trusting.type(f"{site.shop}/join")
    register = f"navigator.serviceWorker.register('/worker/{how}.js', {{scope: '/'}})"
    trusting.page.evaluate(f"{register}.then(() => navigator.serviceWorker.ready).then(() => 0)")
    wait_until(
        lambda: trusting.page.evaluate("navigator.serviceWorker.controller !== null"),
        what="the service worker",
    )
    trusting.page.evaluate(
        "fetch('/?ps_xid=script').then(() => new Promise(seen => {"
        " const image = new Image(); image.onerror = seen; image.src = '/?ps_xid=image' }))"
    )
    trusting.type(f"{site.partner}/stuffing/landed")
    trusting.settle()
    assert site.rows() == []
    trusting.page.get_by_role("link", name="Go").click()
    wait_until(lambda: trusting.title == "Landing", what="the landing")
    assert site.rows() == ["landed"]
    trusting.page.get_by_role("link", name="Join").click()
    wait_until(lambda: trusting.title == "Join", what="the next page")
    assert sign_up(trusting, site, "landed") == "cookie"
