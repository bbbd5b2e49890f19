"""Sites that are closed after their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attribution.site import Browser, Site

MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """Make a process of one site, with these settings."""
    made: list[Site] = []

    def make(url: str | None = None, **config: Any) -> Site:
        own = f"sqlite:///{tmp_path / 'site.sqlite3'}"
        made.append(Site(tmp_path, url or own, **config))
        if len(made) > 1:
            # One time for all: they are one site.
            made[-1].clock.advance(made[0].clock.now() - made[-1].clock.now())
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


@pytest.fixture
def browser(site: Site) -> Browser:
    return Browser(site)
