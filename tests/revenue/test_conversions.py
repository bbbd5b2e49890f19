"""Actions, transactions and reversals: their bounds, and which of them are the same."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_s2s.conversion import (
    Action,
    Reversal,
    Signup,
    Transaction,
    dump_conversion,
    load_conversion,
)
from flask_s2s.errors import InvalidConversion

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=4, max_size=255)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
REFUSED = ("", "abc", "None", "null", "undefined", "x" * 256, "a\nb c", "a\x00bcd", "ab\ud800c")


def payment(**changes: Any) -> Transaction:
    fields = {"customer_key": "42", "amount": 100, "currency": "USD", "key": "inv-1", **changes}
    return Transaction(**fields)


def step(**changes: Any) -> Action:
    return Action(**{"customer_key": "42", "type": "activated", **changes})


@given(key=texts.filter(lambda text: text not in REFUSED))
def test_a_key_is_kept_as_it_is_and_tells_transactions_apart(key: str) -> None:
    assert payment(key=key).identity == ("transaction", key)
    assert payment(key=key, amount=5) != payment(key=key)
    assert Reversal(customer_key="42", transaction_key=key).parent == payment(key=key).identity
    assert payment(key="part", amount=-1, refunds=key).parent == payment(key=key).identity


@pytest.mark.parametrize("key", [*REFUSED, None, True, 1.5, b"inv-1", object(), 12, ["inv-1"]])
def test_what_is_no_key_of_a_transaction(key: object) -> None:
    for make in (
        lambda: payment(key=key),
        lambda: Reversal(customer_key="42", transaction_key=key),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidConversion):
            make()


@pytest.mark.parametrize("key", ["", "None", "null", True, 1.5, b"k", object(), "x" * 256])
def test_what_is_no_key_of_an_action(key: object) -> None:
    with pytest.raises(InvalidConversion) as caught:
        step(key=key)
    assert caught.value.field == "key"


def test_numbers_and_uuids_are_keys_like_their_text() -> None:
    number = UUID(int=7)
    assert payment(key=12345).identity == payment(key="12345").identity
    assert payment(key=number).key == str(number)
    assert step(key=7).identity == step(key="7").identity
    assert step(customer_key=42).parent == Signup(customer_key="42").identity


def test_without_a_key_a_customer_has_one_action_of_a_type() -> None:
    assert step().identity == step(value=3).identity
    assert step().identity != step(type="paid").identity
    assert step().identity != step(customer_key="43").identity
    assert step(key="a").identity != step().identity


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None])
def test_an_action_counts_whole_things(value: object) -> None:
    with pytest.raises(InvalidConversion):
        step(value=value)


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=34)
values = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=110)


@given(metadata=st.dictionaries(names, values, max_size=30))
def test_metadata_keeps_to_the_limits_of_the_network(metadata: dict[str, str]) -> None:
    fits = len(metadata) <= 25 and all(
        len(name) <= 30 and len(value) <= 100 for name, value in metadata.items()
    )
    kept = payment(metadata=metadata)
    if fits:
        assert (kept.metadata, kept.cleaned) == (metadata, ())
    else:
        assert kept.cleaned
        assert len(kept.metadata) == min(sum(len(name) <= 30 for name in metadata), 25)
        assert all(metadata[name][:100] == value for name, value in kept.metadata.items())


@pytest.mark.parametrize("metadata", [[], "a=b", {1: "a"}, {"a": object()}, {"n\x00": "a"}])
def test_what_is_no_metadata_is_left_out_and_told(metadata: Any) -> None:
    kept = payment(metadata=metadata)
    assert kept.metadata == {}
    assert "left out" in kept.cleaned[0]


@given(span=st.timedeltas(timedelta(days=4 * 365), timedelta(days=200 * 365)))
def test_a_time_is_kept_to_the_millisecond(span: timedelta) -> None:
    moment = EPOCH + span
    kept = payment(created_at=moment).created_at
    assert kept is not None
    back = EPOCH + timedelta(milliseconds=kept)
    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "moment",
    [EPOCH.replace(year=2026, tzinfo=None), 1_767_225_600, -1, 1e12, "2026-01-01", True, 10**15],
)
def test_what_is_no_time_is_left_out_and_told(moment: object) -> None:
    kept = payment(created_at=moment)
    assert kept.created_at is None
    assert kept.cleaned[0].startswith("created_at left out")


@pytest.mark.parametrize("amount", [0, 1, 500])
def test_a_refund_pays_back(amount: int) -> None:
    with pytest.raises(InvalidConversion):
        payment(key="part", amount=amount, refunds="inv-1")


@pytest.mark.parametrize(("key", "refunds"), [("inv-1", "inv-1"), (12345, "12345")])
def test_a_refund_has_a_key_of_its_own(key: object, refunds: object) -> None:
    """Under the payment's it would be the payment, and not be recorded."""
    with pytest.raises(InvalidConversion) as caught:
        payment(key=key, amount=-200, refunds=refunds)
    assert caught.value.field == "key"
    assert "of its own" in str(caught.value)


def test_what_is_stored_comes_back_the_same() -> None:
    frozen = MappingProxyType({"plan": "pro"})
    for conversion in (
        payment(metadata=frozen, created_at=1_767_225_600_000, product_key="p"),
        payment(key="part", amount=-1, refunds="inv-1"),
        step(key="k", value=3),
        Reversal(customer_key="42", transaction_key="inv-1"),
        Signup(customer_key="42", meta=frozen, email="a@b.c"),
    ):
        stored = json.loads(json.dumps(dump_conversion(conversion)))
        assert load_conversion(conversion.kind, stored) == conversion
