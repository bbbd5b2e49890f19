"""Every way in: who joins is recorded with the click, once, and nobody else is."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from example_app.accounts import User
from example_app.extensions import db
from tests.example_app.recorded import accounts, conversions
from tests.example_app.visitor import ADA, send

CLICK_ID = "Ab3dEf6hIj9kLm"
LINK = f"/?ps_xid={CLICK_ID}&ps_partner_key=YWRh&sid=newsletter"

#: Path and fields of each way in, as a visitor fills them.
WAYS_IN = [
    pytest.param("/signup", ADA, id="call"),
    pytest.param("/trial", {k: ADA[k] for k in ("name", "email")}, id="decorator"),
    pytest.param("/studio", {k: ADA[k] for k in ("name", "email")}, id="signal"),
]

#: What browsers say of a form on a page that is not the site's.
SENT_ELSEWHERE = [
    pytest.param({"Sec-Fetch-Site": "cross-site"}, id="another site"),
    pytest.param({"Sec-Fetch-Site": "same-site"}, id="another port or subdomain"),
    pytest.param(
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, id="the newer header counts"
    ),
    pytest.param({"Origin": "http://localhost.other.example"}, id="plain http"),
    pytest.param({"Origin": "null"}, id="a page that hides where it is"),
    pytest.param({}, id="nothing said"),
]


@pytest.mark.parametrize(("path", "fields"), WAYS_IN)
def test_joining_after_a_partner_link_records_the_click(
    app: Flask, client: FlaskClient, path: str, fields: dict[str, str]
) -> None:
    client.get(LINK)
    answer = send(client, path, fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/welcome")
    assert "Ada Rowe" in client.get("/welcome").text
    assert conversions(app) == [("signup", CLICK_ID, "pending")]


@pytest.mark.parametrize(("path", "fields"), WAYS_IN)
def test_joining_without_a_link_is_recorded_as_unattributed(
    app: Flask, client: FlaskClient, path: str, fields: dict[str, str]
) -> None:
    assert send(client, path, fields).status_code == 303
    assert conversions(app) == [("signup", None, "unattributed")]


@pytest.mark.parametrize(("path", "fields"), WAYS_IN)
def test_a_taken_address_shows_the_form_again_and_records_nothing_more(
    app: Flask, path: str, fields: dict[str, str]
) -> None:
    send(app.test_client(), "/signup", ADA)
    second = app.test_client()
    second.get(LINK)
    answer = send(second, path, fields | {"email": "Ada.Rowe@EXAMPLE.com "})
    assert answer.status_code == 422
    assert "There is an account with this address already" in answer.text
    assert accounts(app) == 1
    assert conversions(app) == [("signup", None, "unattributed")]


@pytest.mark.parametrize(("path", "fields"), WAYS_IN)
def test_an_invalid_form_says_what_to_do_and_records_nothing(
    app: Flask, client: FlaskClient, path: str, fields: dict[str, str]
) -> None:
    client.get(LINK)
    answer = send(client, path, fields | {"name": "  ", "email": "nobody"})
    assert answer.status_code == 422
    assert "Enter your name." in answer.text
    assert "Enter an e-mail address like name@example.com." in answer.text
    assert 'value="nobody"' in answer.text
    assert accounts(app) == 0
    assert conversions(app) == []


@pytest.mark.parametrize(("path", "fields"), WAYS_IN)
@pytest.mark.parametrize("said", SENT_ELSEWHERE)
def test_a_form_that_another_site_sent_is_refused(
    app: Flask, client: FlaskClient, path: str, fields: dict[str, str], said: dict[str, str]
) -> None:
    client.get(LINK)
    answer = client.post(path, data=fields, headers=said)
    assert answer.status_code == 403
    assert "Nothing was saved" in answer.text
    assert accounts(app) == 0
    assert conversions(app) == []


def test_over_plain_http_the_origin_says_who_sent_the_form(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/signup", data=ADA, headers={"Origin": "http://localhost"})
    assert answer.status_code == 303
    assert accounts(app) == 1


def test_a_short_password_is_refused_and_not_shown_again(app: Flask, client: FlaskClient) -> None:
    answer = send(client, "/signup", ADA | {"password": "short-one"})
    assert answer.status_code == 422
    assert "Choose a password of 10 characters or more." in answer.text
    assert "short-one" not in answer.text
    assert accounts(app) == 0


def test_the_password_is_stored_as_a_salted_hash(app: Flask, client: FlaskClient) -> None:
    send(client, "/signup", ADA)
    send(app.test_client(), "/signup", ADA | {"email": "other@example.com"})
    with app.app_context():
        first, second = db.session.scalars(db.select(User.password_hash).order_by(User.id))
    assert first.startswith("scrypt:")
    assert first != second


def test_errors_are_tied_to_their_fields(client: FlaskClient) -> None:
    page = send(client, "/signup", ADA | {"password": "short-one"}).text
    assert '<a href="#password">' in page
    assert 'aria-describedby="password-hint password-error"' in page
    assert 'id="password-error"' in page
    assert "<title>Error: " in page
