"""The site in process (no thread delivers under TESTING), and the whole demo as a command."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from example_app import create_app
from example_app.extensions import db
from tests.example_app.demo import Demo


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """The site, on a database of its own."""
    app = create_app({"TESTING": True}, tmp_path)
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A visitor who has not been here before."""
    return app.test_client()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The demo, not started yet; whatever is left of it is killed after the test."""
    demo = Demo(tmp_path / "demo")
    yield demo
    demo.kill()
