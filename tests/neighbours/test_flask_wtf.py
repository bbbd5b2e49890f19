"""Flask-WTF: a form that does not validate, or was forged, records nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import g
from flask.testing import FlaskClient
from flask_wtf import CSRFProtect, FlaskForm
from wtforms import EmailField
from wtforms.validators import Email

from flask_s2s.dashboard import Act
from tests.dashboard.programme import token_in
from tests.neighbours.conftest import MakeShop
from tests.neighbours.shop import CLICK, Shop

TOKEN = re.compile(r'name="csrf_token"[^>]* value="([^"]+)"')


class SignupForm(FlaskForm):  # type: ignore[misc]
    email = EmailField(validators=[Email()])


@pytest.fixture
def shop(make_shop: MakeShop) -> Shop:
    """A shop whose sign-up form is checked by its view."""
    shop = make_shop().start()
    shop.app.add_url_rule("/signup", view_func=signing_up(shop), methods=["GET", "POST"])
    return shop


def signing_up(shop: Shop) -> Any:
    @shop.s2s.conversion(customer_key=lambda: g.get("key"), session=shop.db.session)
    def sign_up() -> str:
        form = SignupForm()
        if form.validate_on_submit():
            user = shop.user_model(email=form.email.data)
            shop.db.session.add(user)
            shop.db.session.flush()
            g.key = user.id
            shop.db.session.commit()
            return "welcome"
        return f"<form>{form.csrf_token}{form.email}{form.errors}</form>"

    return sign_up


def submit(visitor: FlaskClient, email: str, token: str | None = None) -> Any:
    """Open the form and send it, with the token that was in it unless another is given."""
    found = TOKEN.search(visitor.get("/signup").text)
    assert found is not None
    return visitor.post("/signup", data={"email": email, "csrf_token": token or found[1]})


def test_only_a_valid_form_is_a_conversion(shop: Shop) -> None:
    visitor = shop.visitor()
    assert "Invalid email" in submit(visitor, "nonsense").text
    assert "CSRF token is invalid" in submit(visitor, "a@b.example", "forged").text
    assert shop.recorded() == []
    assert submit(visitor, "a@b.example").text == "welcome"
    assert shop.credited() == [("1", CLICK)]


def test_a_token_of_another_visitor_records_nothing(shop: Shop) -> None:
    other = TOKEN.search(shop.visitor().get("/signup").text)
    assert other is not None
    assert "CSRF" in submit(shop.visitor(), "a@b.example", other[1]).text
    assert shop.recorded() == []


def test_what_csrf_protect_refuses_records_nothing(shop: Shop) -> None:
    CSRFProtect(shop.app)
    visitor = shop.visitor()
    refused = visitor.post("/signup", data={"email": "a@b.example"})
    assert refused.status_code == 400
    assert shop.recorded() == []
    assert submit(visitor, "a@b.example").text == "welcome"
    assert shop.credited() == [("1", CLICK)]


def test_the_dashboards_forms_pass_csrf_protect(shop: Shop) -> None:
    """Wherever it is asked for: before the blueprint, or behind it."""
    dashboard = shop.s2s.dashboard(access=lambda request: Act("ann"))
    shop.app.register_blueprint(dashboard, url_prefix="/partners")
    CSRFProtect(shop.app)
    shop.app.config["WTF_CSRF_FIELD_NAME"] = "theirs"
    visitor = shop.visitor()
    page = visitor.get("/partners/settings").text
    fields = {name: token_in(page, "/settings/check", name) for name in ("token", "theirs")}
    for left_out in fields:
        brought = {name: value for name, value in fields.items() if name != left_out}
        refused = visitor.post("/partners/settings/check", data=brought)
        assert refused.status_code == (400 if left_out == "theirs" else 409)
    assert visitor.post("/partners/settings/check", data=fields).status_code == 303
