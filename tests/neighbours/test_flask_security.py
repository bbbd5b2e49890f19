"""Flask-Security-Too: registration, confirmation by e-mail, and signing in with a code."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask_security import (
    MailUtil,
    Security,
    SQLAlchemyUserDatastore,
    user_confirmed,
    user_registered,
)
from flask_security.models import fsqla_v3

from flask_s2s import Signup
from tests.neighbours.conftest import MakeShop
from tests.neighbours.shop import CLICK, Shop

EMAIL = "ada@shop.example"
PASSWORD = "a quiet garden by the sea"
SETTINGS: dict[str, Any] = {
    "SECURITY_PASSWORD_SALT": "salt",
    "SECURITY_PASSWORD_HASH": "plaintext",
    "SECURITY_PASSWORD_SCHEMES": ["plaintext"],
    "SECURITY_REGISTERABLE": True,
    "SECURITY_EMAIL_VALIDATOR_ARGS": {"check_deliverability": False},
    "WTF_CSRF_ENABLED": False,
}
OUTBOX: list[tuple[str, str]] = []


class Post(MailUtil):
    """Keeps what would be sent: recipient and text."""

    def send_mail(
        self,
        template: str,
        subject: str,
        recipient: Any,
        sender: Any,
        body: str | None,
        html: str | None,
        **kwargs: Any,
    ) -> None:
        OUTBOX.append((str(recipient), body or ""))


def start(shop: Shop, *signals: Any) -> Shop:
    """Start a shop with Flask-Security, whose users become customers by these signals."""
    OUTBOX.clear()
    db = shop.db
    fsqla_v3.FsModels.set_db_info(db)  # type: ignore[attr-defined, no-untyped-call]
    role = type("Role", (db.Model, fsqla_v3.FsRoleMixin), {})
    user = type("User", (db.Model, fsqla_v3.FsUserMixin), {})
    db.init_app(shop.app)
    Security(shop.app, SQLAlchemyUserDatastore(db, user, role), mail_util_cls=Post)
    for signal in signals:
        shop.s2s.connect(
            signal, lambda app, user, **_: Signup(customer_key=user.id), session=db.session
        )
    return shop.start(with_users=False)


def register(visitor: Any, password: str = PASSWORD) -> None:
    form = {"email": EMAIL, "password": password, "password_confirm": password}
    assert visitor.post("/register", data=form).status_code == 302


def link_in(text: str) -> str:
    found = re.search(r"https?://[^/]+(/confirm/\S+)", text)
    assert found is not None
    return found[1]


def test_who_registers_is_the_customer(make_shop: MakeShop) -> None:
    shop = start(make_shop(**SETTINGS, SECURITY_SEND_REGISTER_EMAIL=False), user_registered)
    register(shop.visitor())
    assert shop.credited() == [("1", CLICK)]


def test_a_registration_that_is_refused_records_nothing(make_shop: MakeShop) -> None:
    shop = start(make_shop(**SETTINGS, SECURITY_SEND_REGISTER_EMAIL=False), user_registered)
    form = {"email": "nonsense", "password": PASSWORD, "password_confirm": PASSWORD}
    assert shop.visitor().post("/register", data=form).status_code == 200
    assert shop.recorded() == []


CONFIRMABLE = {**SETTINGS, "SECURITY_CONFIRMABLE": True}
#: Said by Flask-Security 5.6 of its own call.
own_call = pytest.mark.filterwarnings("ignore:'get_token_status' is deprecated:DeprecationWarning")


@own_call
def test_a_confirmation_in_another_browser_changes_nothing(make_shop: MakeShop) -> None:
    shop = start(make_shop(**CONFIRMABLE), user_registered, user_confirmed)
    register(shop.visitor())
    [(recipient, text)] = OUTBOX
    assert recipient == EMAIL
    telephone = shop.visitor(from_partner=False)
    assert telephone.get(link_in(text)).status_code == 302
    assert shop.recorded() == [("1", "cookie")]
    assert shop.credited() == [("1", CLICK)]


@own_call
@pytest.mark.parametrize(
    ("same_browser", "reason"), [(True, "cookie"), (False, "no_click")], ids=["same", "another"]
)
def test_who_counts_confirmed_users_only_needs_the_browser_that_landed(
    make_shop: MakeShop, same_browser: bool, reason: str
) -> None:
    shop = start(make_shop(**CONFIRMABLE), user_confirmed)
    visitor = shop.visitor()
    register(visitor)
    assert shop.recorded() == []
    opener = visitor if same_browser else shop.visitor(from_partner=False)
    opener.get(link_in(OUTBOX[0][1]))
    opener.get(link_in(OUTBOX[0][1]))  # the link once more
    assert shop.recorded() == [("1", reason)]


UNIFIED = {
    **SETTINGS,
    "SECURITY_UNIFIED_SIGNIN": True,
    "SECURITY_PASSWORD_REQUIRED": False,
    "SECURITY_US_ENABLED_METHODS": ["password", "email"],
    "SECURITY_TOTP_SECRETS": {"1": "TjQ9Qa31VOrfEzuPy4VHQWPCTmRzCnFzMKLxXYiZu9B"},
    "SECURITY_TOTP_ISSUER": "shop",
}


# Flask-Security's own form says so, with WTForms 3.3.
@pytest.mark.filterwarnings("ignore:Passing SelectField choices:DeprecationWarning")
def test_unified_sign_in_keeps_the_click_and_is_no_second_sign_up(make_shop: MakeShop) -> None:
    shop = start(make_shop(**UNIFIED), user_registered)
    register(shop.visitor(), password="")
    assert shop.credited() == [("1", CLICK)]

    OUTBOX.clear()
    returning = shop.visitor()
    before = returning.get_cookie("s2s")
    asked = returning.post(
        "/us-signin/send-code", data={"identity": EMAIL, "chosen_method": "email"}
    )
    assert asked.status_code == 200
    code = re.search(r"\b([0-9]{6})\b", OUTBOX[-1][1])
    assert code is not None
    signed_in = returning.post("/us-signin", data={"identity": EMAIL, "passcode": code[1]})
    assert signed_in.status_code == 302
    assert returning.get_cookie("s2s") == before
    assert shop.credited() == [("1", CLICK)]
