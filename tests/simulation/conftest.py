"""One database for all histories of a test module."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.simulation.database import Database
from tests.simulation.play import quieten


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    logger = logging.getLogger("flask_s2s")
    level = logger.level
    quieten()
    made = Database(tmp_path_factory.mktemp("simulation"))
    yield made
    made.close()
    logger.setLevel(level)
