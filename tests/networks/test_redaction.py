"""Echoes of networks: no secret and nothing of a person is kept, logged or shown; the reason is."""

from __future__ import annotations

import base64
import html
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_s2s import Click, Settings, Signup, Transaction
from flask_s2s.networks.credentials import Credentials
from flask_s2s.networks.exchange import Exchange
from flask_s2s.networks.messages import Accepted, Request, Response, Secret
from flask_s2s.networks.network import Report
from flask_s2s.networks.partnerstack.conversions import PartnerStack
from flask_s2s.networks.redaction import MARK, Redaction, of_request
from flask_s2s.testing import ManualClock, ScriptedTransport, answered
from tests.delivery.conftest import Opening

PERSON: dict[str, Any] = {
    "email": "Ada+x@Example.org",
    "name": "Ada Löwe-Lee",
    "ip_address": "203.0.113.77",
    "user_agent": 'Mozilla/5.0 (X11; "Linux")',
    "meta": {"note": "VIP & co", "phone": 447911123456, "deep": [{"city": "Zürich"}]},
}
TOKEN = "tok-Geheim.7/%s{}+="
PAIR = "pk-Geheim-2:sk-Geheim-3"
VALUES = [
    *(PERSON[name] for name in ("email", "name", "ip_address", "user_agent")),
    "VIP & co",
    "447911123456",
    "Zürich",
]


def _utf16(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


QUOTINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "percent-encoded": lambda text: quote(text, safe=""),
    "every byte": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "in a form": quote_plus,
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON, every letter": _utf16,
    "in HTML": html.escape,
    "in HTML, every letter": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "percent-encoded in JSON": lambda text: json.dumps(quote(text, safe=""))[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "twice percent-encoded": lambda text: quote(quote(text, safe=""), safe=""),
    "six times": lambda text: reduce(lambda said, _: quote(said, safe=""), range(6), text),
    "percent-encoded in Latin-1": lambda text: quote(text, safe="", encoding="latin-1"),
    "by escape()": lambda text: "".join(f"%u{ord(letter):04x}" for letter in text),
    "in JavaScript": lambda text: "".join(f"\\u{{{ord(letter):x}}}" for letter in text),
    "in octal": lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
    "in HTML, without an end": lambda text: "".join(f"&#{ord(letter)}" for letter in text),
    "in UTF-16": "\0".join,
    "in JSON of UTF-16": "\\u0000".join,
    "with what nobody sees": "\u200b".join,
}


def redaction(secret: str = TOKEN) -> Redaction:
    click = Click(click_id="click1", at=ManualClock().now())
    return of_request(secret, Signup(customer_key="42", **PERSON), click)


@pytest.mark.parametrize("quoting", QUOTINGS)
@pytest.mark.parametrize("value", VALUES)
def test_what_is_of_a_person_is_taken_out_however_it_is_quoted(quoting: str, value: str) -> None:
    said = QUOTINGS[quoting](value)
    for before, after in [("", ""), ("value '", "' is bad"), ("&q=", "&z=1"), ("%22", "%22")]:
        assert redaction()(f"{before}{said}{after}") == f"{before}{MARK}{after}"


@pytest.mark.parametrize("quoting", [name for name in QUOTINGS if name != "in capitals"])
@pytest.mark.parametrize("secret", [TOKEN, PAIR])
def test_a_credential_is_taken_out_in_every_form(quoting: str, secret: str) -> None:
    in_base64 = base64.b64encode(secret.encode()).decode()
    within = [base64.b64encode(f"{'x' * at}{secret}, and".encode()).decode() for at in range(4)]
    forms = [secret, f"Bearer {secret}", f"Basic {in_base64}", f"xx{secret}xx", in_base64, *within]
    for form in [*forms, secret.encode().hex()]:
        kept = redaction(secret)(QUOTINGS[quoting](form))
        assert MARK in kept
        for half in secret.split(":") if ":" in secret else [secret, in_base64[:-2]]:
            assert half not in kept
            assert QUOTINGS[quoting](half) not in kept


@pytest.mark.parametrize(
    ("name", "sent", "said"),
    [
        ("email", "ada@b\xfccher.example", "Ada@xn--bcher-kva.example"),
        ("email", "ada@xn--bcher-kva.example", "ada@B\xdcCHER.example"),
        ("name", "J\xfcrgen Gro\xdf", "JU\u0308RGEN GROSS"),
        ("name", "Ju\u0308rgen Gro\xdf", "J\xfcrgen Gro\xdf"),
        ("name", "J\xfcrgen Gro\xdf", "J\xc3\xbcrgen Gro\xc3\x9f"),
        ("user_agent", "Mozilla/5.0 (X11; Linux)", "Mozilla/5.0\r\n (X11;  Linux)"),
        ("name", "Ada  Lovelace", "Ada Lovelace"),
        ("ip_address", "2001:db8::7", "2001:0DB8:0000:0000:0000:0000:0000:0007"),
        ("ip_address", "2001:db8::7", "2001:db8:0:0:0:0:0:7"),
        ("ip_address", "2001:0db8:0:0:0:0:0:7", "2001:db8::7"),
    ],
)
def test_what_is_of_a_person_is_taken_out_in_another_spelling(
    name: str, sent: str, said: str
) -> None:
    person: dict[str, Any] = {name: sent}
    signup = Signup(customer_key="42", **person)
    assert of_request(TOKEN, signup, None)(f"'{said}' is bad") == f"'{MARK}' is bad"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "latin-1"])
def test_an_answer_in_another_encoding_shows_no_more(encoding: str) -> None:
    class Answers:
        def send(self, request: Request, *, seconds: float) -> Response:
            said = f"{TOKEN} of {PERSON['name']} <{PERSON['email']}> in Z\xfcrich"
            return Response(status=400, body=said.encode(encoding))

    settings = Settings.from_mapping({"SECRET_KEY": "k" * 32, "S2S_TOKEN": TOKEN})
    network = PartnerStack(settings.of(PartnerStack))
    exchange = Exchange(network, Answers(), Credentials([network]), seconds=5)
    click = Click(click_id="click1", at=ManualClock().now())
    answer = exchange.send(Signup(customer_key="42", **PERSON), click).answer
    assert answer
    letters = "".join(letter for letter in answer if letter.isalpha()).lower()
    for secret in ("geheim", "lee", "ada", "example", "rich"):
        assert secret not in letters


def test_a_request_whose_fields_have_no_order_is_accepted_all_the_same() -> None:
    class Numbered(PartnerStack):
        def request(self, report: Report, secret: Secret) -> Request:
            request = super().request(report, secret)
            numbered: Any = {**(request.body or {}), 1: "first"}
            return replace(request, body=numbered)

    settings = Settings.from_mapping({"SECRET_KEY": "k" * 32, "S2S_TOKEN": TOKEN})
    network = Numbered(settings.of(PartnerStack))
    exchange = Exchange(network, ScriptedTransport(), Credentials([network]), seconds=5)
    click = Click(click_id="click1", at=ManualClock().now())
    sent = exchange.send(Signup(customer_key="42"), click)
    assert isinstance(sent.outcome, Accepted)
    assert sent.request is not None
    assert "1" in sent.request["fields"]


def test_each_half_of_a_pair_is_taken_out() -> None:
    assert redaction(PAIR)("user pk-Geheim-2, key sk-Geheim-3") == f"user {MARK}, key {MARK}"


def test_what_a_400_is_about_stays() -> None:
    said = (
        "'customer_key' 42 of xid click1 is not of type 'string': email, name, amount 4900 USD;"
        ' Adam is no Ada; {"field": "meta.note", "type": "number"}'
    )
    assert redaction()(said) == said


def test_a_value_that_is_a_word_of_the_protocol_stays_readable() -> None:
    odd = Signup(customer_key="42", name="string", email="42", meta={"plan": "plan", "xx": "type"})
    said = "'plan' is not of type 'string': 42"
    assert of_request(TOKEN, odd, None)(said) == said


def test_a_payment_s_amount_currency_and_key_stay() -> None:
    payment = Transaction(
        customer_key="42",
        amount=4900,
        currency="USD",
        key="inv-1",
        metadata={"seller": "Ada Lovelace", "total": "4900", "cur": "USD", "id": "inv-1"},
    )
    said = "4900 USD, inv-1: not from Ada Lovelace"
    assert of_request(PAIR, payment, None)(said) == f"4900 USD, inv-1: not from {MARK}"


@given(st.text(max_size=60), st.sampled_from(VALUES), st.integers(0, 80), st.text(max_size=60))
def test_a_text_that_is_cut_shows_no_part_of_what_began_before(
    before: str, value: str, longest: int, after: str
) -> None:
    text = f"{before} {value} {after}"
    kept = redaction()(text, longest)
    whole = redaction()(text)
    assert kept == whole[: len(kept)] or kept.endswith(MARK)
    assert value.lower() not in kept.lower()
    if longest > len(before) + 1:
        assert value[:4].lower() not in kept.removeprefix(before).lower() or value[:4] in after


class Echoing:
    """A network that answers with everything it was sent, and a transport that breaks with it."""

    def __init__(self, status: int | None) -> None:
        self._status = status

    def send(self, request: Request, *, seconds: float) -> Response:
        said = {"headers": dict(request.headers), "body": dict(request.body or {})}
        told = f"is a required property: {json.dumps(said)} {quote(str(said))}"
        if self._status is None:
            raise ValueError(told)
        return answered(self._status, json.dumps({"message": told, "status": self._status}))


@pytest.mark.parametrize("status", [200, 400, 401, 418, 500, None])
def test_nothing_that_is_echoed_is_kept_or_logged(
    open_shop: Opening, caplog: pytest.LogCaptureFixture, status: int | None
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {"S2S_TOKEN": "tok-Geheim-1"}
    shop = open_shop(**secrets)
    shop.sign_up("42", email="ada@geheim.example", name="Ada Geheim", meta={"note": "geheimnis"})
    services = shop.another(secrets, transport=Echoing(status))
    services.drain()
    tables = services.storage.tables
    with services.storage.engine().connect() as connection:
        attempts = [dict(row) for row in connection.execute(tables.attempt.select()).mappings()]
        (row,) = connection.execute(tables.delivery.select()).mappings()
        breakers = [
            dict(breaker) for breaker in connection.execute(tables.breaker.select()).mappings()
        ]
    assert attempts
    kept = {name: value for name, value in dict(row).items() if name != "conversion"}
    told = [str({**vars(record), "text": record.getMessage()}) for record in caplog.records]
    for text in (str(attempts), str(kept), str(breakers), *told):
        assert "geheim" not in text.lower()
        assert "ada@" not in text.lower()
    if status == 400:
        assert "customer_key" in row["detail"]
        assert "42" in row["detail"]
