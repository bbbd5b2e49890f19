"""Several hosts in a real Chromium: a CMS beside the app, a second site, and two cookies of a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, render_template_string
from playwright.sync_api import sync_playwright
from sqlalchemy import select

from flask_s2s import S2S
from flask_s2s.testing import ScriptedTransport
from tests.browsers.chromium import BLOCKED, Chromium
from tests.browsers.web import Door
from tests.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: What docs/hosts-and-caches.md tells to put into the CMS's page.
SNIPPET = """
<script>
if (/[?&](ps_xid|gsxid)=/.test(location.search))
  fetch("{{ app }}/_s2s/click" + location.search,
        {credentials: "include", keepalive: true, referrerPolicy: "no-referrer-when-downgrade"});
</script>
"""


class Town:
    """One app, which answers for its own host, and pages of a CMS that knows nothing of it."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.door, self.cms_door = Door(), Door()
        self.app_url = self.door.at("app.shop.test")
        self.cms_url = self.cms_door.at("www.shop.test")
        self.stranger_url = self.cms_door.at("www.stranger.test")
        self.other_url = self.door.at("app.other.test")
        self.told: list[int] = []
        self.door.open(self._app(folder, config))
        self.cms_door.open(self._cms())

    def close(self) -> None:
        self.door.close()
        self.cms_door.close()

    def landed_on(self) -> list[str]:
        """The landing page that is kept with each click."""
        rows = self.services.storage.tables.click
        with self.services.storage.engine().connect() as connection:
            found = connection.scalars(select(rows.c.landing).order_by(rows.c.id))
            return [kept["page"] for kept in found]

    def _app(self, folder: Path, config: dict[str, Any]) -> Flask:
        app = Flask("app", instance_path=str(folder))
        app.config.update(SECRET_KEY="of all of them", TESTING=True, **config)
        s2s = S2S(app, transport=ScriptedTransport())
        app.register_blueprint(s2s.capture_blueprint(), url_prefix="/_s2s")
        self.services = app.extensions["s2s"]

        @app.get("/")
        def page() -> str:
            click = s2s.current_click()
            source = '<p>{{ seen }}</p><a href="{{ s2s_hand_over(to) }}">Over</a>'
            seen = click.click_id if click else "nobody"
            return render_template_string(source, seen=seen, to=f"{self.other_url}/")

        @app.after_request
        def tell(response: Any) -> Any:
            if response.status_code in (204, 403):
                self.told.append(response.status_code)
            return response

        return app

    def _cms(self) -> Flask:
        cms = Flask("cms")

        @cms.get("/landing")
        def landing() -> str:
            source = SNIPPET + '<a href="{{ app }}/">Plain</a>'
            source += (
                """<a id=linked href="{{ app }}/?{{ request.query_string.decode() }}">Full</a>"""
            )
            return render_template_string(source, app=self.app_url)

        return cms


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path / "site")
    yield made
    made.close()


@pytest.fixture
def start(chromium_path: str, tmp_path: Path) -> Iterator[Any]:
    started: list[Chromium] = []
    with sync_playwright() as playwright:

        def start(**options: Any) -> Chromium:
            browser = Chromium(playwright, chromium_path, tmp_path / "browser", **options)
            browser.start()
            started.append(browser)
            return browser

        yield start
        for browser in started:
            browser.stop()


def seen(browser: Chromium) -> str:
    return browser.page.locator("p").inner_text()


def land(browser: Chromium, url: str, town: Town) -> None:
    with browser.page.expect_response(f"{town.app_url}/_s2s/click**"):
        browser.type(f"{url}/landing?ps_xid=aBc")


def test_a_page_of_the_cms_tells_the_app(town: Town, start: Any) -> None:
    browser = start()
    land(browser, town.cms_url, town)
    assert town.told == [204]
    browser.follow("Plain")
    assert seen(browser) == "aBc"
    # A later page, as docs/carrying.md has a banner's callback tell of it.
    browser.page.evaluate(
        "fetch('/_s2s/click?ps_xid=dEf', {referrer: location.origin + '/start?ps_xid=dEf'})"
    )
    wait_until(lambda: len(town.landed_on()) == 2, what="the later click is kept")
    pages = (f"{town.cms_url}/landing", f"{town.app_url}/start")
    assert town.landed_on() == [page.partition("://")[2] for page in pages]


def test_a_page_of_another_site_does_not(town: Town, start: Any) -> None:
    browser = start()
    browser.type(f"{town.stranger_url}/landing?ps_xid=aBc")
    wait_until(lambda: town.told == [403], what="the call is refused")
    browser.follow("Plain")
    assert seen(browser) == "nobody"


def test_a_visitor_who_blocks_cookies_comes_by_a_link_with_the_parameters(
    town: Town, start: Any
) -> None:
    browser = start(cookies=BLOCKED)
    land(browser, town.cms_url, town)
    browser.follow("Plain")
    assert seen(browser) == "nobody"
    browser.type(f"{town.cms_url}/landing?ps_xid=aBc")
    browser.follow("Full")
    assert seen(browser) == "aBc"


@pytest.mark.parametrize("cookies", [None, BLOCKED], ids=["default", "blocked"])
def test_a_link_leads_the_click_to_another_site(
    town: Town, start: Any, cookies: int | None
) -> None:
    browser = start(cookies=cookies)
    browser.type(f"{town.app_url}/?ps_xid=aBc")
    browser.follow("Over")
    assert browser.url.startswith(town.other_url)
    assert seen(browser) == "aBc"
    copied = browser.url
    browser.forget()
    # Typed by somebody else, it is nobody's.
    browser.type("about:blank")
    browser.type(copied)
    assert seen(browser) == "nobody"


@pytest.mark.parametrize("host", ["shop.test", "app.shop.test"])
def test_a_new_cookie_for_the_domain_leaves_no_old_one(town: Town, start: Any, host: str) -> None:
    browser = start()
    url = town.door.at(host)
    browser.type(f"{url}/?ps_xid=old")
    context = browser.page.context
    [kept] = context.cookies()
    context.clear_cookies()
    # As a site had it that used to set it for its host alone.
    context.add_cookies([{"name": "s2s", "value": kept["value"], "url": url}])
    browser.type(f"{url}/?ps_xid=new")
    assert [(c["name"], c["domain"]) for c in context.cookies()] == [("s2s", ".shop.test")]
    browser.type(f"{url}/")
    assert seen(browser) == "new"


@pytest.mark.parametrize("cookies", [None, BLOCKED], ids=["default", "blocked"])
def test_the_address_bar_is_clean(tmp_path: Path, start: Any, cookies: int | None) -> None:
    town = Town(tmp_path / "clean", S2S_STRIP_PARAMS=True)
    try:
        browser = start(cookies=cookies)
        browser.type(f"{town.app_url}/?a=1&ps_xid=aBc&b=2#there")
        assert seen(browser) == "aBc"
        assert "ps_xid" not in browser.url
        if cookies is None:
            assert browser.url == f"{town.app_url}/?a=1&b=2#there"
    finally:
        town.close()
