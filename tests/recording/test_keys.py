"""Customer keys: which customer it is, what is stored about a person, and the same customer again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from blinker import Signal
from flask import g
from sqlalchemy import text

from flask_s2s import Click, InvalidConversion, Signup, Transaction, UsageError, signup_completed
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.testing import ManualClock
from tests.recording.desk import Desk
from tests.recording.rows import conversions, read

PERSON: dict[str, Any] = {
    "email": "Ada@Example.com",
    "name": "Ada Lovelace",
    "ip_address": "192.0.2.7",
    "user_agent": "Mozilla/5.0",
}
PAID: dict[str, Any] = {
    "customer_key": 42,
    "amount": 100,
    "currency": "EUR",
    "key": "invoice-7",
}
PAID_BACK: dict[str, Any] = {"customer_key": 42, "transaction_key": 7}
HALF: dict[str, Any] = {"amount": 0.5, "currency": "EUR", "key": "refund-7"}
BAD_KEYS = [None, "", " ", "None", "null", "undefined", True, 4.2, b"42", "a\x00b", "\ud800"]


def click(click_id: str = "Click123456789") -> Click:
    return Click(click_id=click_id, at=ManualClock().now())


def by_call(desk: Desk, key: Any) -> Callable[[], Any]:
    return lambda: desk.s2s.track_signup(customer_key=key, session=desk.db.session)


def by_call_alone(desk: Desk, key: Any) -> Callable[[], Any]:
    return lambda: desk.s2s.track_signup(customer_key=key)


def by_signal(desk: Desk, key: Any) -> Callable[[], Any]:
    return lambda: signup_completed.send(desk.app, customer_key=key, session=desk.db.session)


def by_signal_alone(desk: Desk, key: Any) -> Callable[[], Any]:
    return lambda: signup_completed.send(desk.app, customer_key=key)


def by_decorator(desk: Desk, key: Any) -> Callable[[], Any]:
    return desk.s2s.conversion(customer_key=lambda: key, session=desk.db.session)(lambda: "")


DOORS = [by_call, by_call_alone, by_signal, by_signal_alone, by_decorator]
Door = Callable[[Desk, Any], Callable[[], Any]]
every_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)


@every_door
class TestBadKeys:
    @pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
    def test_become_a_row_in_production(self, sqlite_url: str, door: Door, key: object) -> None:
        desk = Desk(sqlite_url, TESTING=False, S2S_WORKER="external")
        tell = door(desk, key)

        def view() -> None:
            desk.new_user()
            desk.db.session.flush()
            if door not in (by_call, by_signal):
                desk.db.session.commit()
            tell()
            desk.db.session.commit()

        assert desk.post(view) == 200
        expected = [(None, "invalid", "bad_key")]
        if door is by_decorator and key is None:
            expected = []  # "no conversion this time"
        columns = "customer_key, status, reason"
        assert read(sqlite_url, f"SELECT {columns} FROM s2s_delivery") == expected  # noqa: S608
        assert read(sqlite_url, "SELECT count(*) FROM user") == [1]

    @pytest.mark.parametrize("setting", ["TESTING", "DEBUG"])
    @pytest.mark.parametrize("key", ["", "None"])
    def test_are_raised_while_developing(
        self, sqlite_url: str, door: Door, key: str, setting: str
    ) -> None:
        quiet: dict[str, Any] = {"TESTING": False, "S2S_WORKER": "external"}
        desk = Desk(sqlite_url, **(quiet | {setting: True}))
        tell = door(desk, key)
        with desk.app.test_request_context(method="POST"):
            with pytest.raises(InvalidConversion, match="customer_key"):
                tell()
        assert conversions(sqlite_url) == []

    def test_say_why(self, sqlite_url: str, door: Door) -> None:
        desk = Desk(sqlite_url, TESTING=False, S2S_WORKER="external")
        tell = door(desk, "None")

        def view() -> None:
            tell()
            desk.db.session.commit()

        desk.post(view)
        [detail] = read(sqlite_url, "SELECT detail FROM s2s_delivery")
        assert "the customer had no key yet" in detail
        assert "session is flushed" in detail


class TestBadFields:
    """The row keeps what is known: which conversion, whose, and the field that was wrong."""

    @pytest.mark.parametrize(
        ("tell", "kind", "field"),
        [
            (lambda s2s: s2s.track_action(customer_key=42, type=""), "action", "type"),
            (lambda s2s: s2s.track_transaction(**PAID | {"key": 7}), "transaction", "key"),
            (lambda s2s: s2s.track_transaction(**PAID | {"amount": 1.5}), "transaction", "amount"),
            (lambda s2s: s2s.track_refund(**PAID_BACK), "reversal", "transaction_key"),
            (lambda s2s: s2s.track_refund(**PAID_BACK, **HALF), "transaction", "amount"),
        ],
    )
    def test_are_a_row_of_the_customer(
        self, sqlite_url: str, tell: Callable[[Any], Any], kind: str, field: str
    ) -> None:
        desk = Desk(sqlite_url, TESTING=False, S2S_WORKER="external")
        assert desk.post(lambda: tell(desk.s2s) and "") == 200
        [row] = read(sqlite_url, "SELECT customer_key, kind, status, reason FROM s2s_delivery")
        assert row == ("42", kind, "invalid", "bad_field")
        [detail] = read(sqlite_url, "SELECT detail FROM s2s_delivery")
        assert detail.startswith(f"{field} ")

    def test_are_a_row_of_the_customer_where_a_signal_told_it(self, sqlite_url: str) -> None:
        desk = Desk(sqlite_url, TESTING=False, S2S_WORKER="external")
        paid = Signal("paid")
        desk.s2s.connect(paid, lambda sender: Transaction(**PAID | {"key": 7}))
        desk.post(lambda: paid.send(desk.app) and "")
        assert read(sqlite_url, "SELECT customer_key, kind, lane FROM s2s_delivery") == [
            ("42", "transaction", "partnerstack/api")
        ]

    def test_of_a_customer_without_a_key_are_nobodys(self, sqlite_url: str) -> None:
        desk = Desk(sqlite_url, TESTING=False, S2S_WORKER="external")
        nobody = PAID | {"customer_key": None, "key": 7}
        desk.post(lambda: desk.s2s.track_transaction(**nobody) and "")
        columns = "customer_key, kind, reason"
        assert read(sqlite_url, f"SELECT {columns} FROM s2s_delivery") == [  # noqa: S608
            (None, "transaction", "bad_key")
        ]


class TestTheSameCustomer:
    @pytest.mark.parametrize(
        ("one", "other"),
        [(42, "42"), ("42 ", 42), (UUID(int=7), str(UUID(int=7)))],
        ids=["number", "blank", "UUID"],
    )
    def test_is_one_delivery(self, desk: Desk, one: Any, other: Any) -> None:
        with desk.app.test_request_context(f"/?ps_xid={click().click_id}"):
            first = desk.s2s.track_signup(customer_key=one, click=click())
            again = desk.s2s.track_signup(customer_key=other, click=click("Another123456"))
        assert first
        assert again
        assert (first.id, first.click) == (again.id, again.click)
        assert len(conversions(desk.uri)) == 1

    def test_in_two_cases_is_two(self, database_url: str) -> None:
        desk = Desk(database_url)
        with desk.app.app_context():
            for key in ("ada", "Ada"):
                desk.s2s.track_signup(customer_key=key, click=click())
        assert conversions(database_url) == [("ada", "pending"), ("Ada", "pending")]

    def test_committed_by_another_since_this_transaction_began(self, database_url: str) -> None:
        """A database that reads from a snapshot does not see the row that stands in the way."""
        desk = Desk(database_url)
        with desk.app.app_context():
            desk.db.session.execute(text("SELECT count(*) FROM s2s_delivery"))
            first = desk.s2s.track_signup(customer_key=42, click=click())
            desk.db.session.execute(text("SELECT count(*) FROM s2s_delivery"))
            again = desk.s2s.track_signup(customer_key=42, click=click(), session=desk.db.session)
            desk.db.session.commit()
        assert first
        assert again
        assert first.id == again.id

    def test_told_by_every_door_in_one_view(self, database_url: str) -> None:
        desk = Desk(database_url)

        def view() -> str:
            g.user = desk.new_user()
            desk.send(g.user)
            desk.db.session.commit()
            desk.call(g.user)
            desk.send(g.user)
            return ""

        key = lambda: g.user.id  # noqa: E731
        desk.post(desk.s2s.conversion(customer_key=key, session=desk.db.session)(view))
        assert conversions(database_url) == [("1", "pending")]


class TestUnattributed:
    def test_keeps_nothing_personal(self, desk: Desk) -> None:
        with desk.app.test_request_context():
            desk.s2s.track_signup(customer_key=42, **PERSON, meta={"plan": "Secret"})
        [row] = read(desk.uri, "SELECT * FROM s2s_delivery")
        assert "no_click" in row
        for value in (*PERSON.values(), "Secret"):
            assert value not in repr(row)

    def test_outside_a_request_says_so(self, desk: Desk) -> None:
        with desk.app.app_context():
            desk.s2s.track_signup(customer_key=42)
        assert read(desk.uri, "SELECT reason FROM s2s_delivery") == ["outside_request"]

    def test_outside_a_request_with_a_click_is_sent(self, desk: Desk) -> None:
        with desk.app.app_context():
            desk.s2s.track_signup(customer_key=42, click=click())
        assert desk.drain() == ["42"]

    def test_a_later_call_with_a_click_upgrades_the_row(self, database_url: str) -> None:
        desk = Desk(database_url)
        with desk.app.test_request_context():
            before = desk.s2s.track_signup(customer_key=42)
            after = desk.s2s.track_signup(customer_key=42, click=click(), **PERSON)
        assert before
        assert after
        assert (after.id, str(after.status)) == (before.id, "pending")
        assert desk.drain() == ["42"]
        assert (desk.transport.requests[0].body or {})["email"] == PERSON["email"]

    def test_a_rolled_back_upgrade_leaves_it(self, database_url: str) -> None:
        desk = Desk(database_url)
        with desk.app.test_request_context():
            desk.s2s.track_signup(customer_key=42)
            desk.s2s.track_signup(customer_key=42, click=click(), session=desk.db.session)
            desk.db.session.rollback()
        assert conversions(database_url) == [("42", "unattributed")]

    def test_never_takes_a_click_away(self, database_url: str) -> None:
        desk = Desk(database_url)
        with desk.app.test_request_context():
            desk.s2s.track_signup(customer_key=42, click=click())
            desk.s2s.track_signup(customer_key=42)
        assert conversions(database_url) == [("42", "pending")]

    def test_two_upgrades_at_once(self, database_url: str) -> None:
        """Either may be first: one row, and the click of one of them as a whole."""
        desk = Desk(database_url)
        with desk.app.app_context():
            desk.s2s.track_signup(customer_key=42)
        start = threading.Barrier(2)
        got: list[Any] = []

        def upgrade(number: int) -> None:
            with desk.app.app_context():
                start.wait(10)
                got.append(
                    desk.s2s.track_signup(
                        customer_key=42, name=f"{number}", click=click(f"Click{number}")
                    )
                )

        threads = [threading.Thread(target=upgrade, args=(n,)) for n in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        [(click_id, conversion, status)] = read(
            database_url, "SELECT click_id, conversion, status FROM s2s_delivery"
        )
        stored = conversion if isinstance(conversion, dict) else json.loads(conversion)
        assert stored["name"] == click_id[-1]
        assert status == "pending"
        assert {delivery.click.click_id for delivery in got} == {click_id}


class TestPersonalData:
    def row(self, uri: str, **config: Any) -> dict[str, Any]:
        """Record a person; return what is stored."""
        desk = Desk(uri, **config)
        with desk.app.app_context():
            desk.s2s.track_signup(customer_key=42, click=click(), **PERSON)
        [(whole, stored)] = [
            (repr(row), json.loads(row[0]))
            for row in read(uri, "SELECT conversion, 1 FROM s2s_delivery")
        ]
        kept = {name for name, value in PERSON.items() if value in whole}
        desk.drain()
        sent = desk.transport.requests[0].body or {}
        assert {name: sent.get(name) for name in PERSON} == {n: stored.get(n) for n in PERSON}
        return {"kept": kept, **stored}

    def test_is_stored_as_passed(self, sqlite_url: str) -> None:
        assert self.row(sqlite_url)["kept"] == {"email", "name"}

    def test_is_hashed_before_it_is_stored(self, sqlite_url: str) -> None:
        row = self.row(sqlite_url, S2S_SEND_PII="hash")
        assert row["kept"] == set()
        # printf ada@example.com | sha256sum
        assert row["email"] == "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72"

    def test_is_left_out_before_it_is_stored(self, sqlite_url: str) -> None:
        row = self.row(sqlite_url, S2S_SEND_PII="omit")
        assert row["kept"] == set()
        assert row.keys() & PERSON.keys() == set()

    def test_of_the_client_only_where_it_is_wanted(self, sqlite_url: str) -> None:
        row = self.row(sqlite_url, S2S_SEND_CLIENT=True)
        assert row["kept"] == set(PERSON)

    def test_is_in_no_repr(self) -> None:
        shown = repr(Signup(customer_key="42", **PERSON, meta={"plan": "Secret"}))
        assert [value for value in (*PERSON.values(), "Secret") if value in shown] == []


def test_a_click_of_a_network_that_is_not_here(desk: Desk) -> None:
    foreign = Click(network="elsewhere", click_id="abc", at=ManualClock().now())
    with desk.app.app_context(), pytest.raises(UsageError, match="elsewhere"):
        desk.s2s.track_signup(customer_key=42, click=foreign)


def test_credited_by_hand_is_an_upgrade_too(desk: Desk) -> None:
    with desk.app.test_request_context():
        desk.s2s.track_signup(customer_key=42)
        desk.services.recorder.alone(
            Signup(customer_key="42"), Attribution(click(), Reason.CREDITED)
        )
    assert read(desk.uri, "SELECT status, reason FROM s2s_delivery") == [("pending", "credited")]
