"""A site that carries clicks, and visitors without cookies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.carrying.site import Browser, Site


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    """Make a site, not started yet; the settings are its keyword arguments."""

    def make(**config: Any) -> Site:
        return Site(str(tmp_path), **config)

    return make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site().start()


@pytest.fixture
def browser(site: Site) -> Browser:
    return Browser(site.app)
