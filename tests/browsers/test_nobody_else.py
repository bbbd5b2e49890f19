"""Nothing is carried to anybody else: who opens a copied link, and the sites that are linked to.

A click travels in the addresses of a visitor who keeps no cookie, and anybody may see those.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote

import pytest
from playwright.sync_api import Playwright

from tests.browsers.chromium import BLOCKED, Chromium
from tests.browsers.shop import Shop
from tests.browsers.town import Outcome, Town
from tests.browsers.web import PARTNER, Witness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CARRIED, NO_CLICK = Outcome(True, "carried"), Outcome(False, "no_click")


@pytest.fixture(scope="module")
def visitor(
    playwright: Playwright, chromium_path: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chromium]:
    """A visitor who keeps no cookies."""
    folder = tmp_path_factory.mktemp("visitor")
    browser = Chromium(playwright, chromium_path, folder, cookies=BLOCKED)
    browser.start()
    yield browser
    browser.stop()


@pytest.fixture(scope="module")
def somebody_else(
    playwright: Playwright, chromium_path: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chromium]:
    """Another person's browser."""
    browser = Chromium(playwright, chromium_path, tmp_path_factory.mktemp("somebody-else"))
    browser.start()
    yield browser
    browser.stop()


@pytest.mark.parametrize("page", ["Pricing", "Sign up"])
@pytest.mark.parametrize("way", ["typed", "followed"])
def test_a_copied_link_credits_its_visitor_and_nobody_else(
    visitor: Chromium, somebody_else: Chromium, town: Town, witness: Witness, page: str, way: str
) -> None:
    theirs, other = (f"{who}-{way}-{page[:4]}".lower() for who in ("visitor", "other"))
    town.follow_link(visitor, theirs)
    visitor.follow(page)
    copied = visitor.url
    assert "?s2s_xid=" in copied

    if way == "typed":
        somebody_else.type(copied)
    else:
        somebody_else.type(f"{witness.partner}/page?to={quote(copied)}")
        somebody_else.follow("There")
    if page != "Sign up":
        somebody_else.follow("Sign up")
    town.sign_up(somebody_else, other)
    somebody_else.forget()
    assert town.outcome(other) == NO_CLICK

    if page != "Sign up":
        visitor.follow("Sign up")
    town.sign_up(visitor, theirs)
    assert town.outcome(theirs) == CARRIED


@pytest.mark.parametrize("way", ["A friend", "Log in", "Out by a redirect", "In by a redirect"])
def test_other_sites_are_told_nothing(visitor: Chromium, witness: Witness, way: str) -> None:
    with closing(Shop(witness.partner)) as shop:
        witness.forget()
        visitor.type(shop.landing)
        visitor.follow("Prices")
        assert "s2s_xid=" in visitor.url, "else there is nothing to tell"
        visitor.follow(way)
        assert visitor.url.startswith(witness.partner)
        there = [asked for asked in witness.asked if asked.host == PARTNER]
        # The picture in each of the shop's two pages, then the page that was meant, with what it has.
        page = "/friend" if way in ("A friend", "Out by a redirect") else "/authorize"
        pictures = ["/picture"] * 3
        assert sorted(asked.path for asked in there if asked.path != "/favicon.ico") == sorted(
            [*pictures, page, "/ran"]
        )
        for asked in there:
            assert "xid" not in asked.target
            assert "xid" not in asked.referer


@pytest.mark.parametrize(
    ("way", "path"), [("Terms", "/static/terms.html"), ("The guide", "/guide.txt")]
)
def test_files_of_the_site_have_no_token(
    visitor: Chromium, witness: Witness, way: str, path: str
) -> None:
    with closing(Shop(witness.partner)) as shop:
        visitor.type(shop.landing)
        visitor.follow("Prices")
        assert "/prices?s2s_xid=" in visitor.url
        visitor.follow(way)
        assert "/prices?" in shop.asked, "the app sees nothing of it"
        files = {target for target in shop.asked if target.startswith(("/static/", path))}
        assert files == {"/static/site.css?", f"{path}?"}
