"""Makes shops, and closes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.neighbours.shop import Shop

MakeShop = Callable[..., Shop]


@pytest.fixture
def make_shop(sqlite_url: str) -> Iterator[MakeShop]:
    """Makes a shop that is not started: `make_shop(SESSION_TYPE="cachelib")`."""
    shops: list[Shop] = []

    def make(**config: Any) -> Shop:
        shops.append(Shop(config.pop("uri", sqlite_url), **config))
        return shops[-1]

    yield make
    for shop in shops:
        shop.close()
