"""The host of most tests here: Flask-SQLAlchemy on a SQLite file."""

from collections.abc import Iterator

import pytest

from tests.recording.desk import OPEN, Desk


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def desk(sqlite_url: str) -> Desk:
    return Desk(sqlite_url)
