"""A visitor who keeps no cookies, and one who has lost them: what the site does to credit both."""

import re
from html import unescape
from urllib.parse import urljoin

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from example_app.extensions import db
from example_app.letter import Reader
from tests.example_app.recorded import reasons
from tests.example_app.visitor import ADA, send

CLICK_ID = "Ab3dEf6hIj9kLm"
LINK = f"/?ps_xid={CLICK_ID}&ps_partner_key=YWRh&sid=newsletter"
READER = {"email": ADA["email"]}


class Walk:
    """A visitor who goes from page to page without a cookie, and says which page led there."""

    def __init__(self, app: Flask) -> None:
        self._client = app.test_client(use_cookies=False)
        self.address = LINK
        self.page = self._client.get(LINK)

    def follow(self, label: str) -> None:
        """Follow the link that says `label`."""
        found = re.search(rf'href="([^"]+)">{label}</a>', self.page.text)
        assert found, f"no link says {label}"
        self._open(unescape(found[1]))

    def send(self, fields: dict[str, str]) -> None:
        """Send the page's form, which has no address of its own."""
        self._answered(self._client.post(self.address, data=fields, headers=self._led()))

    def _open(self, address: str) -> None:
        led = self._led()
        self.address = urljoin(self.address, address)
        self._answered(self._client.get(self.address, headers=led), led)

    def _answered(self, page: TestResponse, led: dict[str, str] | None = None) -> None:
        self.page = page
        if page.status_code in (302, 303):
            self.address = urljoin(self.address, page.headers["Location"])
            self.page = self._client.get(self.address, headers=led or {})

    def _led(self) -> dict[str, str]:
        referer = f"http://localhost{self.address}"
        return {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document", "Referer": referer}


@pytest.mark.parametrize("way_in", ["Open a free account", "Try it without a password"])
def test_a_visitor_who_blocks_all_cookies_looks_around_and_is_credited(
    app: Flask, way_in: str
) -> None:
    walk = Walk(app)
    for label in ("Pricing", "Letter", "Home"):
        walk.follow(label)
        assert walk.page.status_code == 200
    walk.follow(way_in)
    walk.send(ADA | {"email": "nobody"})
    assert walk.page.status_code == 422
    walk.send(ADA)
    assert "your account is open" in walk.page.text
    assert "xid" not in walk.address
    assert reasons(app) == [(CLICK_ID, "carried")]


def test_a_reader_of_the_letter_who_joins_on_another_device_is_credited(
    app: Flask, client: FlaskClient
) -> None:
    client.get(LINK)
    answer = send(client, "/letter", READER)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/letter/thanks")
    send(app.test_client(), "/signup", ADA)
    assert reasons(app) == [(CLICK_ID, "identity")]


def test_asking_for_the_letter_twice_is_answered_the_same_and_binds_the_later_click(
    app: Flask, client: FlaskClient
) -> None:
    first = send(app.test_client(), "/letter", READER)
    client.get(LINK)
    second = send(client, "/letter", READER | {"email": "ADA.Rowe@example.com "})
    assert (second.status_code, second.text) == (first.status_code, first.text)
    with app.app_context():
        assert db.session.scalars(db.select(Reader.email)).all() == [ADA["email"]]
    send(app.test_client(), "/signup", ADA)
    assert reasons(app) == [(CLICK_ID, "identity")]


def test_a_reader_without_a_partners_link_credits_nobody(app: Flask, client: FlaskClient) -> None:
    send(client, "/letter", READER)
    send(app.test_client(), "/signup", ADA)
    assert reasons(app) == [(None, "no_click")]


def test_an_invalid_address_is_shown_again_and_kept_nowhere(
    app: Flask, client: FlaskClient
) -> None:
    client.get(LINK)
    answer = send(client, "/letter", {"email": "nobody"})
    assert answer.status_code == 422
    assert "Enter an e-mail address like name@example.com." in answer.text
    with app.app_context():
        assert db.session.scalars(db.select(Reader.email)).all() == []
