"""The fixtures of browsers: the town, the witness, and one Playwright."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Playwright, sync_playwright

from tests.browsers.town import Town
from tests.browsers.web import Witness


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """The driver of Chromium."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, a_browser: str) -> Iterator[Town]:
    """The demo and the network, with a partner."""
    town = Town(tmp_path_factory.mktemp("town"))
    yield town
    town.close()


@pytest.fixture(scope="module")
def witness() -> Iterator[Witness]:
    """A page that tells what a browser is."""
    witness = Witness()
    yield witness
    witness.close()
