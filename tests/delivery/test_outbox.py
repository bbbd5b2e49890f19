"""The contract of the outbox: the same on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import DBAPIError

from flask_s2s import Click, Services, Signup, Status
from flask_s2s.testing import answered
from tests.delivery.shop import Shop
from tests.delivery.steps import claim, draft

# -- adding ---------------------------------------------------------------------------------------


def test_the_same_customer_twice_is_one_delivery(any_shop: Shop) -> None:
    first = any_shop.sign_up(42, "click1", email="a@example.org")
    second = any_shop.sign_up("42", "click2")
    assert second.id == first.id
    assert second.click is not None
    assert second.click.click_id == "click1"
    assert any_shop.statuses() == {"pending": 1}


def test_keys_that_differ_in_case_or_accent_are_two_customers(any_shop: Shop) -> None:
    keys = ["ada", "ADA", "Ada", "adá", "ada\u0301", "ß", "ss"]
    assert len({any_shop.sign_up(key).id for key in keys}) == len(keys)
    for key in keys:
        (found,) = any_shop.services.ledger.find(customer=key)
        assert found.customer_key == key


def test_click_ids_that_differ_in_case_are_two_clicks(any_shop: Shop) -> None:
    touches, now = any_shop.services.touches, any_shop.clock.now()
    for click_id in ("AbC123", "aBc123"):
        click = Click(click_id=click_id, at=now)
        # A busy server's first answer may be late: then it is tried after a pause.
        assert any(touches.remember(click, now + timedelta(minutes=k)) for k in range(5))
    assert touches.count() == 2
    found = touches.find("aBc123")
    assert found is not None
    assert found.click_id == "aBc123"


def test_an_unattributed_row_is_upgraded_in_place_by_a_click(any_shop: Shop) -> None:
    stored = any_shop.services.track_signup(customer_key="42", email="a@example.org")
    assert stored
    before = any_shop.row(stored)
    assert (before.status, before.conversion) == (Status.UNATTRIBUTED, None)
    after = any_shop.sign_up("42", "late1")
    assert after.id == before.id
    assert any_shop.status() is Status.PENDING
    assert any_shop.drain() == 1
    assert any_shop.network.requests[0].body == {"xid": "late1", "customer_key": "42"}


def test_a_delivered_row_gives_way_to_nobody(any_shop: Shop) -> None:
    any_shop.sign_up()
    any_shop.drain()
    any_shop.sign_up("42", "other1")
    any_shop.services.track_signup(customer_key="42")
    assert any_shop.statuses() == {"delivered": 1}
    assert any_shop.drain() == 0


def test_many_at_once_adding_one_customer_make_one_row(any_shop: Shop) -> None:
    processes = [any_shop.another() for _ in range(6)]
    start = Barrier(len(processes))

    def add(services: Services) -> int:
        click = Click(click_id="click1", at=any_shop.clock.now())
        start.wait(30)
        delivery = services.track_signup(customer_key="42", click=click)
        assert delivery
        return delivery.id

    with ThreadPoolExecutor(len(processes)) as pool:
        ids = set(pool.map(add, processes))
    assert len(ids) == 1
    assert any_shop.statuses() == {"pending": 1}


def test_who_came_a_moment_earlier_is_found_by_a_transaction_that_had_read_before(
    any_shop: Shop,
) -> None:
    signup = Signup(customer_key="42")
    with any_shop.services.storage.engine().begin() as connection:
        rows = any_shop.services.storage.tables.delivery
        assert connection.execute(select(rows)).all() == []
        first = any_shop.sign_up("42", "click1")
        late = draft(any_shop, signup)
        found = any_shop.services.outbox.add(connection, late, signup.identity)
    assert found.id == first.id
    assert found.click == first.click
    assert any_shop.statuses() == {"pending": 1}


def test_text_of_four_bytes_a_letter_survives_to_the_request(any_shop: Shop) -> None:
    fields: dict[str, Any] = {
        "name": "𝔄da 🦊",
        "email": "zoë@例え.テスト",
        "meta": {"поле": "👩‍🚀"},
    }
    any_shop.sign_up("🦊-ключ", **fields)
    any_shop.drain()
    body = any_shop.network.requests[0].body
    assert body == {"xid": "click1", "customer_key": "🦊-ключ", **fields}
    assert any_shop.row().customer_key == "🦊-ключ"


# -- half states ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "half",
    [
        pytest.param({"due_at": None}, id="pending and never due"),
        pytest.param({"status": "sending"}, id="sending without a lease"),
        pytest.param({"status": "armed"}, id="armed without a lease"),
        pytest.param({"lease_token": "t"}, id="pending with a lease"),
        pytest.param({"status": "delivered", "due_at": None}, id="delivered at no time"),
        pytest.param({"status": "delivered"}, id="delivered and due"),
        pytest.param({"status": "thrown away"}, id="a status that does not exist"),
    ],
)
def test_the_database_refuses_half_a_state(any_shop: Shop, half: dict[str, Any]) -> None:
    any_shop.sign_up()
    rows = any_shop.services.storage.tables.delivery
    refused = pytest.raises(DBAPIError)
    with refused, any_shop.services.storage.engine().begin() as connection:
        connection.execute(update(rows).values(**half))
    assert any_shop.status() is Status.PENDING


def test_the_database_refuses_an_attempt_that_is_closed_without_an_outcome(any_shop: Shop) -> None:
    any_shop.sign_up()
    claim(any_shop)
    attempts = any_shop.services.storage.tables.attempt
    refused = pytest.raises(DBAPIError)
    with refused, any_shop.services.storage.engine().begin() as connection:
        connection.execute(update(attempts).values(closed_at=any_shop.clock.now()))


def test_the_database_refuses_a_second_attempt_of_one_number(any_shop: Shop) -> None:
    any_shop.sign_up()
    (claimed,) = claim(any_shop)
    attempts = any_shop.services.storage.tables.attempt
    again = {"delivery_id": claimed.id, "number": 1, "lease_token": "t"}
    refused = pytest.raises(DBAPIError)
    with refused, any_shop.services.storage.engine().begin() as connection:
        connection.execute(insert(attempts).values(opened_at=any_shop.clock.now()), [again])


# -- what networks answer -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("a\x00b", id="NUL"),
        pytest.param(
            '{"message": "\\u0000 is a required property", "status": 400}', id="NUL, read"
        ),
        pytest.param('{"message": "\\ud800 is not of type", "status": 400}', id="half a pair"),
        pytest.param("🦊" * 4000, id="long, four bytes a letter"),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_whatever_the_network_answers_can_be_stored(any_shop: Shop, status: int, body: str) -> None:
    any_shop.sign_up()
    any_shop.network.then(answered(status, body))
    assert any_shop.drain() == 1
    (attempt,) = any_shop.attempts()
    assert attempt.http_status == status
    assert attempt.outcome is not None
    assert "\x00" not in (attempt.answer or "")
