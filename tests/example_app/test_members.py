"""Log-in, log-out, the account page, and what a session inherits."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from example_app import team
from flask_s2s.sandbox.books.partners import PARTNERS
from tests.example_app.recorded import conversions
from tests.example_app.visitor import ADA, send

LOGIN = {"email": ADA["email"], "password": ADA["password"]}


@pytest.fixture
def member(app: Flask) -> FlaskClient:
    """A visitor who has just signed up."""
    client = app.test_client()
    send(client, "/signup", ADA)
    return client


def test_a_members_account_asks_others_to_log_in(client: FlaskClient) -> None:
    answer = client.get("/account")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


def test_who_has_no_session_is_welcomed_and_told_how_to_get_one(
    member: FlaskClient, app: Flask
) -> None:
    assert f"Welcome, {ADA['name']}" in member.get("/welcome").text
    page = app.test_client().get("/welcome").text
    assert "your account is open" in page
    assert "allow them for this site and log in" in page
    assert ADA["name"] not in page


def test_log_out_and_log_in_again(member: FlaskClient) -> None:
    assert ADA["email"] in member.get("/account").text
    assert send(member, "/logout", {}).headers["Location"] == "/"
    assert member.get("/account").status_code == 303
    answer = send(member, "/login", LOGIN | {"email": "Ada.Rowe@Example.com"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account")
    assert ADA["email"] in member.get("/account").text


def test_log_in_records_no_conversion(app: Flask, member: FlaskClient) -> None:
    before = conversions(app)
    send(app.test_client(), "/login", LOGIN)
    assert conversions(app) == before


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(
    app: Flask, member: FlaskClient
) -> None:
    wrong = send(app.test_client(), "/login", LOGIN | {"password": "a loud garden"})
    unknown = send(app.test_client(), "/login", LOGIN | {"email": "nobody@example.com"})
    message = "This address and password do not belong together."
    assert (wrong.status_code, unknown.status_code) == (422, 422)
    assert message in wrong.text
    assert message in unknown.text


def test_logging_in_starts_a_fresh_session(app: Flask, member: FlaskClient) -> None:
    client = app.test_client()
    with client.session_transaction() as planted:
        planted["planted"] = "by an attacker"
    send(client, "/login", LOGIN)
    with client.session_transaction() as session:
        assert set(session) == {"user_id"}


@pytest.mark.parametrize("path", ["/welcome", "/account"])
def test_account_pages_are_not_kept_by_the_browser(member: FlaskClient, path: str) -> None:
    assert member.get(path).headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("path", ["/trial", "/studio"])
def test_who_joined_without_a_password_can_choose_one_once(client: FlaskClient, path: str) -> None:
    send(client, path, {"name": ADA["name"], "email": ADA["email"]})
    assert send(client, "/account", {"password": ""}).status_code == 422
    assert send(client, "/account", {"password": ADA["password"]}).status_code == 303
    page = client.get("/account").text
    assert "Your password is set." in page
    assert "Choose a password" not in page
    send(client, "/account", {"password": "somebody else's"})
    send(client, "/logout", {})
    assert send(client, "/login", LOGIN).status_code == 303


def test_an_account_without_a_password_cannot_be_logged_into(client: FlaskClient) -> None:
    send(client, "/trial", {"name": ADA["name"], "email": ADA["email"]})
    send(client, "/logout", {})
    for guess in ("nobody", "None", "a quiet garden"):
        assert send(client, "/login", LOGIN | {"password": guess}).status_code == 422


def test_upgrading_changes_the_plan(member: FlaskClient) -> None:
    assert "Seedling" in member.get("/account").text
    assert send(member, "/upgrade", {}).status_code == 303
    page = member.get("/account").text
    assert "You are on the Solo plan now." in page
    assert "Seedling" not in page


def test_what_a_customer_pays_gets_back_and_achieves_is_reported(
    member: FlaskClient, app: Flask
) -> None:
    for path in ("/invoice", "/invoice", "/upgrade", "/refund"):
        assert send(member, path, {}).status_code == 303
    assert "you are on Seedling" in member.get("/account").text
    assert "my money back" not in member.get("/account").text
    services = app.extensions["s2s"]
    listed = [
        (one.kind, one.amount, one.what)
        for one in reversed(services.ledger.find(customer="1", limit=10))
    ]
    assert listed == [
        ("signup", None, None),
        ("action", None, "first_invoice"),
        ("transaction", 900, None),
        ("reversal", -900, None),
    ]


def test_the_team_alone_sees_the_dashboard(member: FlaskClient) -> None:
    assert member.get("/partners/").headers["Location"] == "/team"
    assert "your own log-in stands here" in member.get("/team").text
    assert send(member, "/team/enter", {}).headers["Location"] == "/partners/"
    # Its own policy, by which its script may renew the page; not the site's, which forbids all.
    policy = member.get("/partners/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'")
    page = member.get("/partners/customer?key=1").text
    assert "Nobody is credited." in page


def test_a_session_of_a_deleted_account_is_nobodys(client: FlaskClient) -> None:
    with client.session_transaction() as session:
        session["user_id"] = 4711
    assert client.get("/account").status_code == 303


def test_the_dashboard_calls_the_stand_ins_partners_by_their_names() -> None:
    assert team.PARTNERS == {one.key: one.name for one in PARTNERS.values()}
