"""An optional field never costs the credit: it is cut, cleaned or left out, told, and the rest is sent."""

from __future__ import annotations

import enum
import json
import logging
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_s2s import Action, InvalidConversion, Signup, Transaction
from flask_s2s.conversion import dump_conversion, load_conversion
from tests.delivery.shop import Shop


class Plan(enum.Enum):
    PRO = "pro"


class Odd:
    """No text, no JSON."""


#: What is passed, what is sent of it (None: nothing), and what is told.
FIELDS: list[tuple[dict[str, Any], Any, str]] = [
    ({"name": "Ann\tLee"}, "Ann Lee", "name cleaned"),
    ({"name": "Ann\r\nLee\n"}, "Ann Lee", "name cleaned"),
    ({"name": "A" * 513}, "A" * 512, "name cut to 512"),
    ({"name": "\ud800Ann"}, "Ann", "name cleaned"),
    ({"name": 7}, "7", ""),
    ({"name": Odd()}, None, "name left out"),
    ({"user_agent": "x" * 1025}, "x" * 1024, "user_agent cut to 1024"),
    ({"user_agent": "a\x00b"}, "a b", "user_agent cleaned"),
    ({"email": "a@x.example\n"}, "a@x.example", ""),
    ({"email": "a\n@x.example"}, None, "email left out"),
    ({"email": "a" * 321}, None, "email left out"),
    ({"email": ["a@x.example"]}, None, "email left out"),
    ({"ip_address": "203.0.113.7, 10.0.0.1, 10.0.0.2"}, "203.0.113.7", "ip_address cut"),
    ({"ip_address": ", ".join(["2001:db8::1"] * 40)}, "2001:db8::1", "ip_address cut"),
    ({"ip_address": "1" * 65}, None, "ip_address left out"),
    ({"origin": "h" * 256}, None, "origin left out"),
    ({"provider_key": UUID(int=7)}, str(UUID(int=7)), ""),
    ({"provider_key": "k" * 256}, None, "provider_key left out"),
    ({"external_type": b"lead"}, None, "external_type left out"),
    ({"meta": {"at": date(2026, 5, 1)}}, {"at": "2026-05-01"}, ""),
    (
        {"meta": {"at": datetime(2026, 5, 1, tzinfo=timezone.utc)}},
        {"at": "2026-05-01T00:00:00+00:00"},
        "",
    ),
    ({"meta": {"n": float("nan"), "k": 1}}, {"k": 1}, "meta.n left out"),
    ({"meta": {"n": float("inf")}}, None, "meta.n left out"),
    ({"meta": {"n": Decimal("1.10"), "p": Plan.PRO}}, {"n": "1.10", "p": "pro"}, ""),
    ({"meta": {"t": ("a", {"b"})}}, {"t": ["a", ["b"]]}, ""),
    ({"meta": {"o": Odd(), "k": "v"}}, {"k": "v"}, "meta.o left out"),
    ({"meta": {1: "a", "k": "v"}}, {"k": "v"}, "a field of meta left out"),
    ({"meta": {"a\x00": "a", "k": "v"}}, {"k": "v"}, "a field of meta left out"),
    ({"meta": {"h": "\ud800x\x00"}}, {"h": "x"}, "meta.h cleaned"),
    ({"meta": {"l": "x" * 5000, "k": 1}}, {"k": 1}, "meta.l left out"),
    ({"meta": {"n": 10**5000, "k": 1}}, {"k": 1}, "meta.n left out"),
    ({"meta": ["a"]}, None, "meta left out"),
]


@pytest.mark.parametrize(
    ("passed", "sent", "told"),
    FIELDS,
    ids=[f"{n}-{next(iter(f[0]))}" for n, f in enumerate(FIELDS)],
)
@pytest.mark.parametrize("testing", [True, False])
def test_the_sign_up_is_sent_with_what_can_be_sent(
    sqlite_url: str,
    caplog: pytest.LogCaptureFixture,
    testing: bool,
    passed: dict[str, Any],
    sent: Any,
    told: str,
) -> None:
    shop = Shop(sqlite_url, S2S_SEND_CLIENT=True, TESTING=testing)
    with caplog.at_level(logging.WARNING):
        delivery = shop.sign_up("42", **passed)
    assert delivery.status.value == "pending"
    assert told in (delivery.detail or "")
    assert (delivery.detail is None) is (told == "")
    assert told in caplog.text
    shop.drain()
    (request,) = shop.network.requests
    assert (request.body or {}).get(next(iter(passed))) == sent
    conversion = shop.row().conversion
    assert isinstance(conversion, Signup)
    # The answer's word has taken the detail's place: the row says it all the same.
    assert told in "; ".join(conversion.cleaned)
    shop.close()


def test_what_was_cleaned_is_told_without_its_value(database_url: str) -> None:
    shop = Shop(database_url)
    delivery = shop.sign_up("42", name="Ada\tGeheim", meta={"note\x00": "Geheim", "x": Odd()})
    assert delivery.detail
    assert "Geheim" not in delivery.detail
    shop.drain()
    assert shop.row().status.value == "delivered"
    shop.close()


@pytest.mark.parametrize("bad", ["", None, "None", "a\x00b", "x" * 256, 1.5])
def test_only_the_customer_key_is_needed(bad: Any) -> None:
    with pytest.raises(InvalidConversion, match="customer_key"):
        Signup(customer_key=bad)


def test_what_a_network_requires_is_refused() -> None:
    for make in (
        lambda: Action(customer_key="42", type=""),
        lambda: Action(customer_key="42", type="a", value=0),
        lambda: Transaction(customer_key="42", amount=1, currency="dollars", key="inv-1"),
        lambda: Transaction(customer_key="42", amount=1, currency="USD", key="1"),
    ):
        with pytest.raises(InvalidConversion):
            make()


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=3)
    | st.dates()
    | st.builds(Odd)
    | st.text(st.characters(categories=["Cs", "Cc"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            "email name provider_key origin ip_address user_agent external_type meta".split()
        ),
        anything,
    )
)
def test_whatever_is_passed_the_sign_up_can_be_written_and_read_back(
    fields: dict[str, Any],
) -> None:
    conversion = Signup(customer_key="42", **fields)
    written = json.dumps(dump_conversion(conversion), allow_nan=False)
    written.encode()
    assert "\\u0000" not in written
    again = load_conversion("signup", json.loads(written))
    assert again == conversion
    assert isinstance(again, Signup)
    assert again.cleaned == conversion.cleaned
    for note in conversion.cleaned:
        note.encode()


@given(
    st.dictionaries(
        st.sampled_from("product_key category_key metadata created_at".split()), anything
    )
)
def test_whatever_is_passed_the_payment_can_be_written_and_read_back(
    fields: dict[str, Any],
) -> None:
    conversion = Transaction(customer_key="42", amount=1, currency="USD", key="inv-1", **fields)
    written = json.dumps(dump_conversion(conversion), allow_nan=False)
    assert load_conversion("transaction", json.loads(written)) == conversion
