"""A site on a SQLite file, and one on each database in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.verification.site import Site

Opening = Callable[..., Site]


@pytest.fixture
def open_site(sqlite_url: str) -> Iterator[Opening]:
    """Open a site with the given settings."""
    opened: list[Site] = []

    def open_(**config: object) -> Site:
        opened.append(Site(sqlite_url, **config))  # type: ignore[arg-type]
        return opened[-1]

    yield open_
    for site in opened:
        site.close()


@pytest.fixture
def site(open_site: Opening) -> Site:
    return open_site()


@pytest.fixture
def any_site(database_url: str) -> Iterator[Site]:
    site = Site(database_url)
    yield site
    site.close()
