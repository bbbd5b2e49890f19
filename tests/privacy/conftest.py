"""Shops that ask for consent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.privacy.sites import Shop, open_shops

Opening = Callable[..., Shop]


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Opening]:
    yield from open_shops(tmp_path)


@pytest.fixture
def shop(open_shop: Opening) -> Shop:
    return open_shop()


@pytest.fixture
def any_shop(open_shop: Opening, database_url: str) -> Shop:
    """A shop on each kind of database in turn."""
    return open_shop(S2S_DATABASE_URI=database_url)
