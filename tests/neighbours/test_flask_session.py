"""Flask-Session: sessions are on the server, and change their IDs; the click is in neither."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from cachelib import FileSystemCache
from flask import current_app, session
from flask_session import Session

from tests.neighbours.conftest import MakeShop
from tests.neighbours.shop import CLICK, Shop


@pytest.fixture
def shop(make_shop: MakeShop, tmp_path: pathlib.Path) -> Shop:
    store = FileSystemCache(str(tmp_path / "sessions"))
    shop = make_shop(SESSION_TYPE="cachelib", SESSION_CACHELIB=store)
    Session(shop.app)
    shop.start()

    def log_in() -> str:
        session["user"] = "7"
        current_app.session_interface.regenerate(session)  # type: ignore[attr-defined]
        return "hello"

    def log_out() -> str:
        session.clear()
        return "goodbye"

    def sign_up() -> str:
        shop.add_user()
        shop.db.session.commit()
        return ",".join(sorted(session))

    for view in (log_in, log_out, sign_up):
        shop.app.add_url_rule(f"/{view.__name__}", view_func=view, methods=["POST"])
    return shop


def session_id(visitor: Any) -> str:
    cookie = visitor.get_cookie("session")
    return "" if cookie is None else str(cookie.value)


def test_a_session_that_is_rotated_at_log_in_keeps_the_click(shop: Shop) -> None:
    visitor = shop.visitor()
    assert session_id(visitor) == ""
    visitor.post("/log_in")
    first = session_id(visitor)
    visitor.post("/log_in")
    assert session_id(visitor) not in ("", first)
    assert visitor.post("/sign_up").text == "_permanent,user"
    assert shop.credited() == [("1", CLICK)]


def test_a_session_that_ends_keeps_the_click(shop: Shop) -> None:
    visitor = shop.visitor()
    visitor.post("/log_in")
    visitor.post("/log_out")
    visitor.delete_cookie("session")
    visitor.post("/sign_up")
    assert shop.credited() == [("1", CLICK)]


def test_a_stolen_session_brings_no_click(shop: Shop) -> None:
    visitor, thief = shop.visitor(), shop.visitor(from_partner=False)
    visitor.post("/log_in")
    thief.set_cookie("session", session_id(visitor))
    assert "user" in thief.post("/sign_up").text
    assert shop.recorded() == [("1", "no_click")]
