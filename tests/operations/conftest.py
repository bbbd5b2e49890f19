"""A site, and where it moves to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.site import Site


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Site]:
    site = Site.make(tmp_path / "old")
    yield site
    site.close()


@pytest.fixture
def new(tmp_path: Path, database_url: str) -> Iterator[Site]:
    site = Site.make(tmp_path / "new", database_url)
    yield site
    site.close()
