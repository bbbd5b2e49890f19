"""Flask-Login: the click outlives logging in and out, and the current user is the customer."""

from __future__ import annotations

from typing import Any

import pytest
from flask import request
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

from tests.neighbours.conftest import MakeShop
from tests.neighbours.shop import CLICK, Shop


class Member(UserMixin):  # type: ignore[misc]
    """A user, as Flask-Login wants one."""

    def __init__(self, key: str) -> None:
        self.id = key


@pytest.fixture
def shop(make_shop: MakeShop) -> Shop:
    shop = make_shop().start()
    manager = LoginManager(shop.app)
    manager.session_protection = "strong"
    manager.user_loader(Member)
    shop.app.add_url_rule("/signup", view_func=signing_up(shop), methods=["POST"])
    shop.app.add_url_rule("/login", view_func=log_in, methods=["POST"])
    shop.app.add_url_rule("/logout", view_func=log_out, methods=["POST"])
    return shop


def signing_up(shop: Shop) -> Any:
    """Return the conversion view: who is logged in after it has become a customer."""

    @shop.s2s.conversion(customer_key=lambda: current_user.get_id(), session=shop.db.session)
    def sign_up() -> str:
        email = request.form.get("email")
        if not email:
            return "try again"
        user = shop.user_model(email=email)
        shop.db.session.add(user)
        shop.db.session.flush()
        login_user(Member(str(user.id)), remember=True)
        shop.db.session.commit()
        return "welcome"

    return sign_up


def log_in() -> str:
    login_user(Member(request.form["key"]), remember=True)
    return "hello"


def log_out() -> str:
    logout_user()
    return "goodbye"


def test_who_is_logged_in_by_the_view_is_the_customer(shop: Shop) -> None:
    visitor = shop.visitor()
    assert visitor.post("/signup").text == "try again"
    assert shop.recorded() == []
    assert visitor.post("/signup", data={"email": "a@b.example"}).text == "welcome"
    assert visitor.get_cookie("remember_token") is not None
    assert shop.credited() == [("1", CLICK)]


def test_the_click_outlives_logging_in_and_out(shop: Shop) -> None:
    visitor = shop.visitor()
    visitor.post("/login", data={"key": "77"})
    visitor.post("/logout")
    visitor.post("/signup", data={"email": "a@b.example"})
    assert shop.credited() == [("1", CLICK)]


def test_somebody_else_at_the_same_time_is_not_credited(shop: Shop) -> None:
    shop.visitor()
    stranger = shop.visitor(from_partner=False)
    stranger.post("/signup", data={"email": "a@b.example"})
    assert shop.recorded() == [("1", "no_click")]
    assert shop.credited() == []
