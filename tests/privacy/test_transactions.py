"""Erasing holds up no page, and ends nobody's transaction."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

import pytest
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_s2s.errors import StorageError
from tests.privacy.sites import Shop, customer, deny

Opening = Callable[..., Shop]


def test_a_database_that_is_busy_holds_up_no_page_and_is_asked_again(
    open_shop: Opening, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop = open_shop(S2S_DATABASE_URI=sqlite_url)
    browser = customer(shop)
    held = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.WARNING, "flask_s2s"):
        assert browser.post("/banner", answer="denied").status_code == 200
    assert browser.cookie() is not None
    # The process may still be looking for its tables, which takes as long.
    told = {getattr(record, "action", "") for record in caplog.records}
    assert told - {"storage.unusable"} == {"consent.not_erased"}
    held.execute("ROLLBACK")
    held.close()
    deny(browser)
    assert shop.delivery()["status"] == "withdrawn"


@pytest.mark.service
def test_a_database_that_fails_is_left_alone_for_a_while(
    open_shop: Opening, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop = open_shop(S2S_DATABASE_URI=postgresql_url)
    browser = customer(shop)
    storage = shop.services.storage
    storage.metadata.drop_all(storage.engine())
    browser.post("/banner", answer="denied")
    assert browser.get("/next").status_code == 200
    assert [record.action for record in caplog.records] == ["consent.not_erased"]  # type: ignore[attr-defined]
    assert browser.cookie() is not None
    storage.create()
    shop.clock.advance(seconds=31)
    deny(browser)


def test_a_denial_commits_nothing_of_a_view_on_one_shared_connection(open_shop: Opening) -> None:
    database = SQLAlchemy()
    shop = open_shop(database=database, SQLALCHEMY_DATABASE_URI="sqlite://")
    session = database.session

    @shop.app.post("/leave-open")
    def leave_open() -> str:
        session.execute(text("INSERT INTO notes VALUES (1)"))
        return "not committed"

    @shop.app.post("/withdraw-open")
    def withdraw_open() -> str:
        session.execute(text("INSERT INTO notes VALUES (1)"))
        with pytest.raises(StorageError, match="session="):
            shop.s2s.withdraw(session=None)
        return "not committed"

    with shop.app.app_context():
        session.execute(text("CREATE TABLE notes (n INTEGER)"))
        session.commit()
    browser = customer(shop)
    browser.post("/leave-open", consent="denied")
    browser.post("/withdraw-open")
    with shop.app.app_context():
        assert session.execute(text("SELECT count(*) FROM notes")).scalar() == 0
    assert browser.cookie() is not None
    deny(browser)
    assert shop.delivery()["status"] == "withdrawn"
    with shop.app.app_context():
        database.engine.dispose()


def test_a_session_withdraws_with_its_own_commit(any_shop: Shop) -> None:
    engine = any_shop.services.storage.engine()

    @any_shop.app.post("/leave/<ending>")
    def leave(ending: str) -> str:
        with Session(engine) as session:
            erased = any_shop.s2s.withdraw(session=session)
            getattr(session, ending)()
        return str(erased.deliveries)

    browser = customer(any_shop)
    kept = browser.cookie()
    assert browser.post("/leave/rollback").text == "1"
    assert any_shop.delivery()["status"] == "pending"
    browser._client.set_cookie("s2s", kept.value)
    assert browser.post("/leave/commit").text == "1"
    assert any_shop.delivery()["status"] == "withdrawn"
