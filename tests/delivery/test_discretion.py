"""No secret and nothing personal in a log, an error or a repr, whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from flask_s2s import S2S, Services, Settings, Signup
from flask_s2s.errors import S2SError, TransportError
from flask_s2s.networks.http import HttpTransport
from flask_s2s.networks.messages import Request, Response
from flask_s2s.store.database.opening import make_engine
from flask_s2s.testing import answered, no_answer
from tests.delivery.conftest import Opening

TOKEN = "tok-Geheim.7%s{}"
SECRETS = {
    "SECRET_KEY": "key-Geheim-1",
    "S2S_TOKEN": TOKEN,
    "S2S_PARTNERSTACK_PUBLIC_KEY": "pk-Geheim-2",
    "S2S_PARTNERSTACK_SECRET_KEY": "sk-Geheim-3",
}
PERSON: dict[str, Any] = {
    "email": "ada+geheim@example.org",
    "name": "Ada Geheim %s {0} %(x)s",
    "ip_address": "203.0.113.77",
    "user_agent": "Geheim/5.0",
    "meta": {"note": "Geheim-meta"},
}


def assert_discreet(text: str) -> None:
    assert "geheim" not in text.lower()
    assert "203.0.113.77" not in text


def test_a_whole_run_tells_the_logs_nothing_secret(
    open_shop: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shop = open_shop(**SECRETS)
    bad: list[Response | TransportError] = [
        answered(401, TOKEN),
        answered(403),
        answered(503),
        answered(418, "no"),
        answered(400, '{"message": "\'xid\' is a required property", "status": 400}'),
        answered(200, "<html>"),
        no_answer(),
    ]
    for number, answer in enumerate(bad):
        shop.network.then(answer)
        shop.sign_up(number, **PERSON)
        shop.clock.advance(hours=1)
        shop.drain()
    shop.services.track_signup(customer_key="no click", **PERSON)
    assert len(caplog.records) > len(bad)
    records = [str({**vars(record), "text": record.getMessage()}) for record in caplog.records]
    own = [told for told, r in zip(records, caplog.records, strict=True) if "flask_s2s" in r.name]
    assert own
    for told in own:
        assert_discreet(told)
    for delivery in shop.services.ledger.find():
        assert_discreet(delivery.detail or "")


@pytest.mark.service
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_an_error_of_our_own_connections_does_not_tell_what_was_written(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Hosts log SQLAlchemy's errors, which come with the values of the statement that failed."""
    engine = make_engine(request.getfixturevalue(f"{kind}_url"), "S2S_DATABASE_URI")
    failing = text("SELECT name FROM nowhere WHERE name = :name")
    with pytest.raises(SQLAlchemyError) as caught, engine.connect() as connection:
        connection.execute(failing, {"name": "Geheim"})
    engine.dispose()
    assert_discreet(str(caught.value))


class Breaking:
    """A transport that fails with everything it was given in its message."""

    def send(self, request: Request, *, seconds: float) -> Response:
        raise ValueError(f"{request!r}")


def test_a_request_that_ends_up_in_a_traceback_shows_neither_header_nor_body(
    open_shop: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    shop = open_shop(**SECRETS)
    shop.sign_up("42", **PERSON)
    shop.another(SECRETS, transport=Breaking()).drain()
    assert "conversion/xid" in caplog.text
    assert_discreet(caplog.text)


@pytest.mark.parametrize("header", ["Bearer geheim\nX: y", "Bearer geheim€"])
def test_an_error_of_the_transport_shows_no_header(header: str) -> None:
    request = Request(method="POST", url="http://127.0.0.1:9/", headers={"Authorization": header})
    with pytest.raises(S2SError) as caught:
        HttpTransport().send(request, seconds=1)
    assert_discreet(f"{caught.value} {caught.value.__cause__}")
    assert caught.value.__suppress_context__


def _settings() -> object:
    return Settings.from_mapping({**SECRETS, "S2S_DATABASE_URI": "postgresql://u:geheim@h/d"})


def _services() -> object:
    return Services.build(Settings.from_mapping(SECRETS))


def _extension() -> object:
    app = Flask(__name__)
    app.config.update(SECRETS)
    extension = S2S(app)
    return (extension, app.extensions["s2s"], app.wsgi_app)


MAKERS: dict[str, Callable[[], object]] = {
    "settings": _settings,
    "services": _services,
    "their parts": lambda: list(vars(_services()).values()),
    "extension": _extension,
    "sign-up": lambda: Signup(customer_key="42", **PERSON),
    "request": lambda: Request(
        method="POST", url="http://h/", headers={"Authorization": TOKEN}, body=PERSON
    ),
    "response": lambda: Response(status=200, headers={"x": TOKEN}, body=TOKEN.encode()),
}


@pytest.mark.parametrize("what", MAKERS)
def test_a_repr_shows_nothing_secret(what: str) -> None:
    made = MAKERS[what]()
    assert_discreet(f"{made!r} {made!s}")


def test_a_delivery_s_repr_shows_nothing_personal(open_shop: Opening) -> None:
    shop = open_shop(**SECRETS)
    delivery = shop.sign_up("42", **PERSON)
    assert_discreet(repr(delivery) + repr(shop.row()) + repr(shop.attempts()))
    shop.drain()
    assert_discreet(repr(shop.attempts()))


def test_an_error_of_the_database_shows_no_values(open_shop: Opening) -> None:
    shop = open_shop(**SECRETS)
    rows = shop.services.storage.tables.delivery
    shop.services.storage.metadata.drop_all(shop.services.storage.engine())
    with pytest.raises(SQLAlchemyError, match="no such table") as caught:
        with shop.services.storage.engine().begin() as connection:
            connection.execute(rows.insert(), {"conversion": PERSON, "status": "pending"})
    assert_discreet(f"{caught.value}")


def test_what_is_kept_of_an_attempt_names_fields_and_no_values(open_shop: Opening) -> None:
    shop = open_shop(**SECRETS)
    shop.sign_up("42", **PERSON)
    shop.drain()
    table = shop.services.storage.tables.attempt
    with shop.services.storage.engine().connect() as connection:
        (kept,) = connection.execute(table.select()).mappings()
    assert kept["request"]["fields"] == ["customer_key", "email", "meta", "name", "xid"]
    assert_discreet(str(dict(kept)))
    shop.close()
