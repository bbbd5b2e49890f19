"""A page's wait for writes that are no reports: a binding, a withdrawal, a view's end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from flask_s2s import S2S, Services, Status
from flask_s2s.testing import ScriptedTransport
from tests.recording.test_waits import locked
from tests.waiting import wait_until

CONFIG = {
    "SECRET_KEY": "for-tests-only-0123456789",
    "S2S_TOKEN": "token",
    "S2S_WORKER": "external",
    "S2S_RECORD_WAIT": 0.1,
}


class Shop:
    """A site whose database is locked when a view is done with it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app = app = Flask("shop")
        app.config.update(CONFIG, S2S_DATABASE_URI=url)
        self.s2s = s2s = S2S(app, transport=ScriptedTransport())
        self.services: Services = app.extensions["s2s"]
        self.services.storage.create()
        self.engine = create_engine(url)
        self.session = Session(self.engine)
        #: What is held until the page has been answered.
        self.held = ExitStack()
        self.status = 200

        @app.get("/")
        def landing() -> str:
            return "hello"

        @app.post("/identify")
        def identify() -> dict[str, bool]:
            self.lock()
            return {"bound": s2s.identify(email="ada@example.com")}

        @app.post("/withdraw")
        def withdraw() -> dict[str, Any]:
            self.lock()
            return {"late": s2s.withdraw(session=None).late}

        @app.post("/signup")
        @s2s.conversion("signup", customer_key=lambda: "cus-7", session=self.session)
        def signup() -> tuple[str, int]:
            # A write of the view's own is what makes its commit one.
            s2s.track_action(customer_key="cus-1", type="seen", session=self.session)
            self.session.commit()
            self.lock()
            return "welcome", self.status

    def lock(self) -> None:
        self.held.enter_context(locked(self.url))

    def visitor(self) -> FlaskClient:
        client = self.app.test_client()
        client.get("/?ps_xid=abc123")
        wait_until(lambda: self.services.touches.count() == 1)
        return client

    def delivery(self) -> Status:
        (found,) = [one for one in self.services.ledger.find() if one.customer_key == "cus-7"]
        return found.status

    def close(self) -> None:
        self.held.close()
        self.services.recorder.background.close()
        self.services.close()
        self.session.close()
        self.engine.dispose()


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    shop = Shop(database_url)
    yield shop
    shop.close()


def test_identify_leaves_a_locked_table_and_binds_when_it_is_free(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    assert shop.visitor().post("/identify").json == {"bound": False}
    assert "s2s.identity.late" in caplog.text
    assert "ada" not in caplog.text
    shop.held.close()
    wait_until(lambda: bound(shop.services) == 1)


def bound(services: Services) -> int:
    rows = services.storage.tables.binding
    with services.storage.engine().connect() as connection:
        return len(connection.execute(rows.select()).all())


def test_withdraw_leaves_a_locked_table_and_erases_when_it_is_free(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = shop.visitor()
    assert visitor.post("/withdraw").json == {"late": True}
    assert "s2s.consent.late" in caplog.text
    assert visitor.get_cookie("s2s") is None
    shop.held.close()
    wait_until(lambda: shop.services.touches.count() == 0)


@pytest.mark.parametrize(
    ("status", "becomes"), [(200, Status.PENDING), (500, Status.WITHDRAWN)], ids=["good", "failed"]
)
def test_a_view_leaves_a_locked_row_which_is_released_or_withdrawn_when_it_is_free(
    shop: Shop, status: int, becomes: Status, caplog: pytest.LogCaptureFixture
) -> None:
    shop.status = status
    assert shop.visitor().post("/signup").status_code == status
    assert "s2s.conversion.still_armed" in caplog.text
    shop.held.close()
    wait_until(lambda: shop.delivery() is becomes)
    shop.services.recorder.background.close()
    assert shop.services.recorder.background.pending == 0


def test_what_is_still_kept_at_the_end_of_the_process_is_told(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.visitor().post("/withdraw")
    shop.services.recorder.background.close(0)
    assert "s2s.consent.not_erased: the process ends" in caplog.text
    shop.held.close()
    wait_until(lambda: shop.services.touches.count() == 0)
