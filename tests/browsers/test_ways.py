"""Each way from a landing to a sign-up, under each Referrer-Policy, with cookies and without.

A sample runs by itself; `S2S_TEST_ALL=1` runs the whole matrix. With cookies nobody is redirected.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.browsers import chromium, firefox
from tests.browsers.browser import Browser
from tests.browsers.chromium import Chromium
from tests.browsers.firefox import Firefox
from tests.browsers.ways import Cell, Ways, cells, sample

pytestmark = [pytest.mark.browser, pytest.mark.slow]

COOKIES = ("blocked", "allowed", "cleared")


@pytest.fixture(params=["Chromium", "Firefox"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def browser(
    kind: str, cookies: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Browser]:
    """A browser that blocks all cookies, or does not."""
    path = request.getfixturevalue(f"{kind.lower()}_path")
    browser: Browser
    blocks = cookies == "blocked"
    if kind == "Chromium":
        playwright = request.getfixturevalue("playwright")
        setting = chromium.BLOCKED if blocks else None
        browser = Chromium(playwright, path, tmp_path, cookies=setting)
    else:
        browser = Firefox(path, tmp_path, firefox.BLOCKED if blocks else {})
    browser.start()
    yield browser
    browser.stop()


def expected(cell: Cell, cookies: str) -> set[str]:
    if cookies == "allowed":
        return {"cookie"}
    if cell.loses:
        return {"no_click"}
    # Cleared, the redirect's own cookie comes back on the next page.
    return {"carried"} if cookies == "blocked" else {"carried", "cookie"}


@pytest.mark.parametrize("cookies", COOKIES)
def test_every_way_is_credited_or_is_a_documented_loss(
    browser: Browser, kind: str, cookies: str
) -> None:
    part = 3 * ("Chromium", "Firefox").index(kind) + COOKIES.index(cookies)
    chosen = cells() if os.environ.get("S2S_TEST_ALL") else sample(part, 6)
    with closing(Ways()) as ways:
        wrong = []
        for number, cell in enumerate(chosen):
            name = f"{kind}-{cookies}-{number}"
            reason = ways.go(browser, cell, name, forgets=cookies == "cleared")
            if reason not in expected(cell, cookies):
                wrong.append(f"{cell}: {reason}")
            if cookies == "allowed":
                browser.forget()
        assert wrong == []
        assert (ways.redirects == 0) is (cookies == "allowed")
