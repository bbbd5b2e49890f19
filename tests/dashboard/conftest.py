"""A programme on SQLite, and one on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard.programme import Programme


@pytest.fixture
def programme(tmp_path: Path, sqlite_url: str) -> Iterator[Programme]:
    made = Programme(tmp_path, sqlite_url)
    yield made
    made.close()


@pytest.fixture
def any_programme(tmp_path: Path, database_url: str) -> Iterator[Programme]:
    made = Programme(tmp_path, database_url)
    yield made
    made.close()
