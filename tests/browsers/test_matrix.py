"""Every kind of browser, by every way: credited, or an honest "cannot" with its reason.

A profile proves first that it is what it is called: the witness says what it kept, ran and fetched.
The table is printed at the end of the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Playwright

from tests.browsers import chromium, firefox
from tests.browsers.browser import Browser
from tests.browsers.chromium import Chromium
from tests.browsers.firefox import Firefox
from tests.browsers.town import Outcome, Town
from tests.browsers.web import PARTNER, SHOP, Witness
from tests.table import Record

pytestmark = [pytest.mark.browser, pytest.mark.slow]

COOKIE, CARRIED, IDENTITY = (Outcome(True, r) for r in ("cookie", "carried", "identity"))
NO_CLICK = Outcome(False, "no_click")


WAYS = ("direct sign-up", "three pages, then sign-up", "lead form, restart, sign-up")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A browser's acts, as the two sites saw them."""

    keeps_cookies: bool = True
    keeps_them_over_a_restart: bool = True
    runs_scripts: bool = True
    fetches_from_third_parties: bool = True
    #: Whether the landing had the click's ID in its URL.
    brings_the_click: bool = True


NO_COOKIES = Seen(keeps_cookies=False, keeps_them_over_a_restart=False)
COOKIES_FOR_A_WHILE = Seen(keeps_them_over_a_restart=False)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A browser's settings, what must be seen of them, and what becomes of the sign-ups."""

    browser: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seen: Seen = Seen()
    #: One for each of `WAYS`.
    outcomes: tuple[Outcome, Outcome, Outcome] = (COOKIE, COOKIE, COOKIE)


PROFILES = [
    Profile(browser="Chromium", name="default"),
    Profile(
        browser="Chromium",
        name="all cookies blocked",
        settings={"cookies": chromium.BLOCKED},
        seen=NO_COOKIES,
        outcomes=(CARRIED, CARRIED, IDENTITY),
    ),
    Profile(
        browser="Chromium",
        name="cookies cleared on exit",
        settings={"cookies": chromium.CLEARED_ON_EXIT},
        seen=COOKIES_FOR_A_WHILE,
        outcomes=(COOKIE, COOKIE, IDENTITY),
    ),
    Profile(
        browser="Chromium",
        name="JavaScript off",
        settings={"scripts": False},
        seen=Seen(runs_scripts=False),
    ),
    Profile(
        browser="Chromium",
        name="third-party requests blocked",
        settings={"blocks_third_parties": True},
        seen=Seen(fetches_from_third_parties=False),
    ),
    Profile(browser="Firefox ESR", name="default"),
    Profile(
        browser="Firefox ESR",
        name="all cookies blocked",
        settings=firefox.BLOCKED,
        seen=NO_COOKIES,
        outcomes=(CARRIED, CARRIED, IDENTITY),
    ),
    Profile(
        browser="Firefox ESR",
        name="cookies cleared on exit",
        settings=firefox.CLEARED_ON_EXIT,
        seen=COOKIES_FOR_A_WHILE,
        outcomes=(COOKIE, COOKIE, IDENTITY),
    ),
    Profile(
        browser="Firefox ESR",
        name="strict, click ID stripped",
        settings=firefox.STRICT,
        seen=Seen(brings_the_click=False),
        outcomes=(NO_CLICK, NO_CLICK, NO_CLICK),
    ),
]


@pytest.fixture(params=PROFILES, ids=lambda profile: f"{profile.browser}, {profile.name}")
def profile(request: pytest.FixtureRequest) -> Profile:
    """Each kind of browser in turn."""
    profile: Profile = request.param
    return profile


@pytest.fixture
def make_browser(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Profile], Browser]:
    """Make a browser with a profile that nobody has used; it is stopped after the test."""

    def make(profile: Profile) -> Browser:
        browser: Browser
        if profile.browser == "Chromium":
            path = request.getfixturevalue("chromium_path")
            playwright: Playwright = request.getfixturevalue("playwright")
            browser = Chromium(playwright, path, tmp_path, **profile.settings)
        else:
            path = request.getfixturevalue("firefox_path")
            browser = Firefox(path, tmp_path, profile.settings)
        request.addfinalizer(browser.stop)
        return browser

    return make


def test_a_sign_up_is_credited_or_says_why_not(
    profile: Profile,
    make_browser: Callable[[Profile], Browser],
    town: Town,
    witness: Witness,
    matrix: Record,
) -> None:
    browser = make_browser(profile)
    direct, three, later = (f"{way}-{slug(profile)}" for way in ("direct", "three", "later"))

    browser.start()
    landing = town.follow_link(browser, direct)
    browser.follow("Sign up")
    town.sign_up(browser, direct)
    browser.forget()

    town.follow_link(browser, three)
    for label, path in (("Pricing", "/pricing"), ("Studio", "/studio"), ("Home", "/")):
        browser.follow(label)
        town.expect(browser, path)
    browser.follow("Sign up")
    town.sign_up(browser, three)
    browser.forget()

    town.follow_link(browser, later)
    town.ask_for_letter(browser, later)
    witness.forget()
    browser.type(witness.page)
    keeps = witness.is_remembered(browser)
    browser.stop()
    browser.start()
    browser.type(f"{town.site}/signup")
    town.sign_up(browser, later)

    seen = Seen(
        keeps_cookies=keeps,
        keeps_them_over_a_restart=witness.is_remembered(browser),
        runs_scripts="/ran" in witness.paths(SHOP),
        fetches_from_third_parties="/picture" in witness.paths(PARTNER),
        brings_the_click="ps_xid=" in landing,
    )
    outcomes = tuple(town.outcome(name) for name in (direct, three, later))
    for way, outcome in zip(WAYS, outcomes, strict=True):
        row = f"{profile.browser}, {profile.name}"
        matrix(PROFILES.index(profile), row, way, outcome)
    assert seen == profile.seen, "the profile is not what it is called"
    assert outcomes == profile.outcomes


def slug(profile: Profile) -> str:
    """Return what makes the names of this profile's visitors their own."""
    return re.sub("[^a-z]+", "-", f"{profile.browser} {profile.name}".lower())
