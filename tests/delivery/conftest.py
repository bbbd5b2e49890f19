"""A shop on a SQLite file, and one on each database.

A database is made once for a test module and emptied after each test: making one takes longer than
most tests here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.delivery.shop import Shop
from tests.services import throw_away_database

Opening = Callable[..., Shop]


@pytest.fixture
def open_shop(sqlite_url: str) -> Iterator[Opening]:
    """Open a shop with the given settings."""
    opened: list[Shop] = []

    def open_(**config: object) -> Shop:
        opened.append(Shop(sqlite_url, **config))
        return opened[-1]

    yield open_
    for shop in opened:
        shop.close()


@pytest.fixture
def shop(open_shop: Opening) -> Shop:
    return open_shop()


@pytest.fixture(
    scope="module",
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.service),
        pytest.param("mariadb", marks=pytest.mark.service),
    ],
)
def lasting_database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("outbox")
        yield f"sqlite:///{folder / 'outbox.sqlite3'}"
    else:
        yield from throw_away_database(request.param)


@pytest.fixture
def any_shop(lasting_database_url: str) -> Iterator[Shop]:
    """A shop on each kind of database in turn."""
    shop = Shop(lasting_database_url)
    yield shop
    shop.empty()
    shop.close()
