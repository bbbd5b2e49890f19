"""The pages in a real Chromium: accessible, on a desk and on a phone, in light and dark."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, sync_playwright
from werkzeug.serving import make_server

from flask_s2s.testing import answered
from tests.dashboard.programme import Programme
from tests.dashboard.test_access import GETS
from tests.dashboard.test_numbers import fill

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(headless_chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=headless_chromium_path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def address(programme: Programme) -> Iterator[str]:
    fill(programme)
    programme.signs_up("waits", "ada")
    programme.acts_on("a1")
    programme.services.blocks.add("partnerstack", "partner", "eve", programme.clock.now())
    server = make_server("127.0.0.1", 0, programme.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/partners"
    server.shutdown()
    thread.join()
    server.server_close()


#: So high is what is pressed, in pixels: by a mouse, and by a finger.
LEAST = {1280: 24, 390: 44}
SMALLER_THAN = """(least) =>
    [...document.querySelectorAll("button, select, summary, input:not([type=hidden])")]
        .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < least - 0.5)
        .map((one) => one.outerHTML)"""


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_and_the_browser_refuses_nothing(
    browser: Browser, address: str, scheme: Any, width: int
) -> None:
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text()
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        extra_http_headers={"X-Who": "acts"},
    )
    page, said = context.new_page(), []

    def hear(message: ConsoleMessage) -> None:
        said.append(message.text)

    page.on("console", hear)
    compare = "/reconciliation/compare"
    further = (
        "/customer?key=x1",
        "/partner?key=ada&period=90d",
        "/partner?key=ada&place=second",
        "/conversions?q=no",
        "/failed/discard?id=17",
        compare,
    )
    for path in (*GETS, *further):
        if path == compare:
            page.goto(address + "/reconciliation")
            page.get_by_role("button", name="Compare now").click()
            assert page.get_by_role("heading", name="Ours").is_visible()
        else:
            page.goto(address + path.replace("key=41", "key=a1"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.evaluate(SMALLER_THAN, LEAST[width]) == [], path
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], path
    assert said == []
    context.close()


@pytest.mark.parametrize("width", [320, 710, 1024, 1280])
def test_no_page_is_wider_than_its_window_whatever_strangers_wrote(
    browser: Browser, programme: Programme, address: str, width: int
) -> None:
    """A table that is wider scrolls by itself: a tablet scrolled whole pages, and long keys a desk."""
    key, partner = (
        "a-rather-long-customer-key-0001-of-a-shop@example.com",
        "a-partner.of-many-parts" * 2,
    )
    address_of = "a.rather.long.address.of.somebody@subdomain.example.com"
    programme.signs_up(key, partner, sub_ids=("a-campaign-of-some-length" * 2,), email=address_of)
    programme.pays(key, 123_456_789_012, "INVOICE-2026-0001-of-a-rather-long-name")
    programme.line.instead = lambda _: answered(400, '{"message": "meta does not match"}')
    programme.signs_up("refused" * 8, "ada")
    programme.services.drain()
    context = browser.new_context(
        viewport={"width": width, "height": 900}, extra_http_headers={"X-Who": "acts"}
    )
    page = context.new_page()
    found = ("/partner?key=" + partner, "/customer?key=" + key, "/conversions?state=odd")
    for path in (*GETS, *found):
        page.goto(address + path.replace("key=41", "key=a1"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()


def test_a_person_finds_a_customer_and_reads_why_without_a_script(
    browser: Browser, address: str
) -> None:
    context = browser.new_context(java_script_enabled=False, extra_http_headers={"X-Who": "looks"})
    page = context.new_page()
    page.goto(address)
    page.get_by_role("link", name="Customers").click()
    page.get_by_label("Find a customer").fill("in_5")
    page.get_by_role("button", name="Show").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Customer x1"
    assert "this one was older" in page.locator("main").inner_text()
    assert page.get_by_role("button", name="Credit this customer").count() == 0
    context.close()
