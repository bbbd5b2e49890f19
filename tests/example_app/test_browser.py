"""The whole way in a real Chromium with JavaScript switched off.

A partner's link, the landing page, sign-up, and the stand-in network's own pages and record.
Screenshots of every step are left in the test's folder.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browsers.chromium import FLAGS
from tests.example_app.demo import PATIENCE, Demo
from tests.example_app.visitor import ADA
from tests.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser(headless_chromium_path: str) -> Iterator[Browser]:
    """A Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=headless_chromium_path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=[(390, 844, "light"), (1280, 900, "dark")], ids=["phone", "desktop"])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """A page of a visitor who runs no scripts."""
    width, height, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        java_script_enabled=False,
    )
    yield context.new_page()
    context.close()


def test_a_partners_link_leads_to_a_credited_customer(
    demo: Demo, page: Page, tmp_path: Path
) -> None:
    def look(name: str) -> None:
        width = page.viewport_size["width"] if page.viewport_size else 0
        assert page.locator("html").evaluate("html => html.scrollWidth") <= width, name
        page.screenshot(path=tmp_path / f"{name}.png", full_page=True)

    demo.start()
    page.goto(f"{demo.network}go/ada?sid=newsletter")
    assert page.url.startswith(f"{demo.site}?")
    look("landing")

    page.get_by_role("link", name="Letter").click()
    look("letter")
    page.get_by_label("E-mail").fill(ADA["email"])
    page.get_by_role("button", name="Write to me").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
    look("letter-thanks")

    page.get_by_role("link", name="Sign up").click()
    page.get_by_role("button", name="Open account").click()
    expect(page.get_by_role("alert")).to_contain_text("Enter your name.")
    look("signup-with-errors")

    page.get_by_label("Your name").fill(ADA["name"])
    page.get_by_label("E-mail").fill(ADA["email"])
    page.get_by_label("Password").fill(ADA["password"])
    look("signup")
    page.get_by_role("button", name="Open account").click()
    assert page.url == f"{demo.site}welcome"
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Welcome, {ADA['name']}")
    look("welcome")

    page.get_by_role("link", name="Go to your account").click()
    expect(page.get_by_text(ADA["email"])).to_be_visible()
    look("account")

    wait_until(lambda: demo.ledger()["customers"], PATIENCE, what="the credit")
    [customer] = demo.ledger()["customers"]
    assert (customer["external_key"], customer["partner"]) == ("1", "ada")
    assert customer["sub_ids"] == ["newsletter"]

    page.goto(f"{demo.network}customers")
    row = page.get_by_role("row").filter(has_text=ADA["email"])
    expect(row).to_contain_text("Ada Byron Media")
    expect(row).to_contain_text("newsletter")
    page.screenshot(path=tmp_path / "network-customers.png", full_page=True)
    page.goto(f"{demo.network}sub-ids")
    expect(page.get_by_role("row").filter(has_text="newsletter")).to_contain_text("Ada Byron Media")
    page.screenshot(path=tmp_path / "network-sub-ids.png", full_page=True)


def test_a_form_on_another_site_is_refused_and_ours_is_not(
    demo: Demo, page: Page, tmp_path: Path
) -> None:
    demo.start()
    fields = "".join(f'<input name="{name}" value="{value}">' for name, value in ADA.items())
    # A browser sends Sec-Fetch-Site to an address of loopback, and only Origin to a plain name.
    for site in (demo.site, demo.site.replace("127.0.0.1", "shop.test")):
        form = f'<form method="post" action="{site}signup">{fields}<button>Win</button></form>'
        for evil in ("http://evil.test/", demo.network):
            show(page, evil, form)
            page.goto(evil)
            page.get_by_role("button").click()
            heading = page.get_by_role("heading", level=1)
            expect(heading).to_have_text("That did not come from here")
            page.unroute(evil)
        page.screenshot(path=tmp_path / "refused.png", full_page=True)

        page.goto(f"{site}letter")
        page.get_by_label("E-mail").fill(ADA["email"])
        page.get_by_role("button", name="Write to me").click()
        assert page.url == f"{site}letter/thanks"


def show(page: Page, url: str, body: str) -> None:
    """Make a page of somebody else's."""
    page.route(url, lambda route: route.fulfill(body=body, content_type="text/html"))
