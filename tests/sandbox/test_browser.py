"""The pages in a real Chromium without JavaScript: on a narrow phone, and against another site."""

from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, sync_playwright

from flask_s2s.sandbox import SandboxServer, create_sandbox, serve
from tests.sandbox.caller import Caller

pytestmark = pytest.mark.browser

PATHS = (
    *("/", "/links", "/clicks", "/customers", "/sub-ids", "/requests", "/sandbox/tokens"),
    *("/sandbox/faults", "/nowhere"),
)


@pytest.fixture(scope="module")
def browser(headless_chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP *.test 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=headless_chromium_path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 360, "height": 740}, java_script_enabled=False)
    yield context.new_page()
    context.close()


@pytest.fixture
def server(app: Flask) -> Iterator[SandboxServer]:
    with serve(app) as server:
        yield server


def test_no_page_scrolls_sideways_on_a_narrow_phone(
    caller: Caller, server: SandboxServer, page: Page
) -> None:
    for value in ("news", "x" * 255):
        xid = caller.click("ada", f"sid={value}&gclid={value}")
        caller.convert(xid, value, name=value, email=f"{value}@mail.example")
    paths = [*PATHS, f"/customers/{caller.read('x' * 255)['key']}", f"/links?sid={'x' * 255}"]

    for path in paths:
        page.goto(server.url + path)
        width = page.locator("html").evaluate("html => html.scrollWidth")
        assert width == 360, path


def test_forms_work_under_a_name_and_under_an_address(
    caller: Caller, server: SandboxServer, page: Page
) -> None:
    # A browser sends Sec-Fetch-Site to an address of loopback, and only Origin to a plain name.
    for base in (server.url, f"http://network.test:{server.port}"):
        caller.click()
        page.goto(f"{base}/")
        page.get_by_role("button", name="Empty all data").click()
        assert page.url == f"{base}/"
        assert caller.ledger()["clicks"] == []


def test_form_on_another_site_is_refused(caller: Caller, server: SandboxServer, page: Page) -> None:
    caller.click()
    attack = f'<form method=post action="{server.url}/sandbox/empty"><button>Win</button></form>'
    for evil in ("http://evil.test/", "http://127.0.0.1:5000/"):
        page.route(evil, lambda route: route.fulfill(body=attack, content_type="text/html"))
        page.goto(evil)
        page.get_by_role("button").click()

        assert page.get_by_role("heading").inner_text() == "Forbidden"
    assert len(caller.ledger()["clicks"]) == 1


def test_following_a_link_lands_on_the_advertiser(page: Page) -> None:
    shop = Flask("shop")
    shop.add_url_rule("/welcome", view_func=lambda: "Welcome")
    with serve(shop) as advertiser:
        target = f"{advertiser.url}/welcome"
        with serve(create_sandbox(target=target)) as network:
            page.goto(f"{network.url}/links?sid=news")
            page.get_by_role("link", name="Follow the link of Grace Reviews").click()

            assert page.url.startswith(f"{target}?")
            assert "sid=news" in page.url
            assert page.inner_text("body") == "Welcome"
