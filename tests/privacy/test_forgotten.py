"""A forgotten customer is found in any spelling, and is nowhere in the files after it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, make_url

from flask_s2s import Click
from flask_s2s.rules.identity import email_of
from tests.privacy.sites import EMAIL, Shop, customer
from tests.privacy.test_requests import forget

Opening = Callable[..., Shop]
#: What a person has left here.
TRACES = ("visitor", "Click123456789", "newsletter", "CUSTOMER-777")


@pytest.mark.parametrize("pii", ["plain", "hash", "omit"])
@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("Zeb@Quark.example", "zeb@quark.example"),
        ("\u00dcnal@x.example", "\u00fcnal@x.example"),
        ("\u00fcnal@x.example", "\u00dcNAL@X.example"),
        ("a@b\u00fccher.example", "a@xn--bcher-kva.example"),
        (" x@y.example", "x@y.example"),
        ("e\u0301@x.example", "\u00e9@x.example"),
        ("\u03a3\u03a3@x.example", "\u03c3\u03c2@x.example"),
    ],
)
def test_an_address_is_found_in_any_spelling(
    open_shop: Opening, given: str, asked: str, pii: str
) -> None:
    shop = open_shop(S2S_SEND_PII=pii)
    customer(shop, email=given)
    customer(shop, "43", "/?ps_xid=Another2345678", "other@example.com")
    counts = forget(shop, asked)
    assert (counts["withdrawn"], counts["bindings"]) == (1, 1)
    assert [row["customer_key"] for row in shop.rows("delivery")] == [None, "43"]
    assert [row["person"] is None for row in shop.rows("delivery")] == [True, False]


@given(st.text(max_size=20), st.sampled_from(["upper", "lower", "casefold", "title"]))
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
def test_a_spelling_of_an_address_is_the_same_address(local: str, change: str) -> None:
    address = email_of(f"{local}@shop.example")
    if address is not None:
        assert email_of(address) == address
        if local.isascii():
            assert email_of(f"  {getattr(local, change)()}@Shop.EXAMPLE. ") == address


def test_an_unattributed_customer_is_found_by_an_address_that_is_stored_nowhere(
    any_shop: Shop,
) -> None:
    browser = any_shop.browser()
    browser.post("/signup", key="42", email=EMAIL)
    assert EMAIL not in any_shop.everything()
    assert forget(any_shop, "VISITOR@example.com")["emptied"] == 1
    assert any_shop.delivery()["customer_key"] is None


def test_a_customer_whose_key_is_the_address_is_found_in_any_spelling(any_shop: Shop) -> None:
    keys = ("Ada@B\xfccher.example", "eve@b\xfccher.example", "ada@b\xfccher.example/2", "42")
    for key in keys:
        any_shop.browser().post("/signup", key=key)
    assert forget(any_shop, "ADA@xn--bcher-kva.example ")["emptied"] == 1
    assert {row["customer_key"] for row in any_shop.rows("delivery")} == {None, *keys[1:]}
    assert any_shop.run("forget", "EVE@b\xfccher.example", "--yes").exit_code == 0
    assert any_shop.run("forget", "bob@b\xfccher.example", "--yes").exit_code == 1


def test_what_is_left_of_a_row_names_nobody_to_whoever_guesses(any_shop: Shop) -> None:
    customer(any_shop)
    any_shop.services.drain()
    before = any_shop.delivery()["dedupe"]
    forget(any_shop, "42")
    row = any_shop.delivery()
    assert row["dedupe"] not in (None, before)
    with any_shop.services.storage.engine().connect() as connection:
        guessed = any_shop.services.outbox.hashed(connection, ("signup", "42"))
    assert guessed == before
    assert guessed not in any_shop.everything()


def test_a_forgotten_customer_who_pays_is_the_customer_who_was_delivered(any_shop: Shop) -> None:
    customer(any_shop)
    any_shop.services.drain()
    forget(any_shop, "42")
    with any_shop.app.app_context():
        any_shop.s2s.track_transaction(
            customer_key="42", amount=100, currency="USD", key="invoice-1"
        )
        again = any_shop.s2s.track_signup(
            customer_key="42", click=Click(click_id="another", at=any_shop.clock.now())
        )
    signup, payment = any_shop.rows("delivery")
    assert again
    assert (again.id, again.click) == (signup["id"], None)
    assert payment["parent"] == signup["dedupe"]
    any_shop.services.drain()
    # It waits for the API's keys, and not for a sign-up.
    assert any_shop.rows("delivery")[1]["status"] == "held"


def test_a_forgotten_customer_who_was_not_sent_may_come_anew(any_shop: Shop) -> None:
    customer(any_shop)
    forget(any_shop, "42")
    assert any_shop.services.drain() == 0
    customer(any_shop, landing="/?ps_xid=Another2345678")
    row = any_shop.delivery()
    assert (row["status"], row["click_id"]) == ("pending", "Another2345678")
    assert any_shop.services.drain() == 1


def test_explain_still_finds_the_sign_up(any_shop: Shop) -> None:
    customer(any_shop)
    any_shop.services.drain()
    forget(any_shop, "42")
    explained = any_shop.run("explain", "42")
    assert explained.exit_code == 0
    assert "forget by" in explained.output


# -- the files ------------------------------------------------------------------------------------


def traces(shop: Shop) -> list[str]:
    """Return which of the person's words stand in the database's files, byte by byte."""
    file = Path(make_url(str(shop.services.storage.engine().url)).database or "")
    files = [one for one in file.parent.iterdir() if one.name.startswith(file.name)]
    assert file in files
    found = b"".join(one.read_bytes() for one in files)
    return [word for word in TRACES if word.encode() in found]


def full(shop: Shop) -> None:
    """Let a person be among others, in the file itself."""
    customer(shop, "CUSTOMER-777")
    for number in range(40):
        customer(shop, f"other{number}", f"/?ps_xid=Other{number}", f"other{number}@shop.test")
    shop.services.drain()
    shop.services.close()
    assert traces(shop) == list(TRACES)


def test_nothing_of_the_person_is_left_in_our_own_file(open_shop: Opening) -> None:
    shop = open_shop()
    full(shop)
    customer(shop, "yet-another", "/?ps_xid=Later", "later@shop.test")  # the site goes on
    result = shop.run("forget", "CUSTOMER-777", "--yes", "--why", "asked by letter")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert traces(shop) == []


class _Plain(sqlite3.Connection):
    """A connection of a SQLite that overwrites nothing by itself; Debian's does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.execute("PRAGMA secure_delete = OFF")


def test_nor_where_sqlite_by_itself_overwrites_nothing(open_shop: Opening, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'own.sqlite3'}"
    shop = open_shop(
        S2S_DATABASE_URI=uri, S2S_DATABASE_OPTIONS={"connect_args": {"factory": _Plain}}
    )
    full(shop)
    assert shop.run("forget", "CUSTOMER-777", "--yes").exit_code == 0
    assert traces(shop) == []


def test_what_is_withdrawn_is_gone_once_a_worker_has_looked(open_shop: Opening) -> None:
    shop = open_shop()
    browser = customer(shop, "CUSTOMER-777")
    assert traces(shop) == list(TRACES)
    browser.post("/withdraw")
    assert "visitor" in traces(shop), "in the write-ahead log"
    shop.clock.advance(seconds=30)
    shop.services.drain()
    # The site's own key of the customer says that there was a sign-up.
    assert traces(shop) == ["CUSTOMER-777"]


def test_a_reader_that_is_in_the_way_is_told_and_a_worker_ends_it(open_shop: Opening) -> None:
    shop = open_shop()
    full(shop)
    with shop.services.storage.engine().connect() as reader:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT count(*) FROM s2s_delivery").scalar()
        result = shop.run("forget", "CUSTOMER-777", "--yes")
        assert result.exit_code == 0
        assert "within a minute" in result.stderr
        assert traces(shop) != []
    shop.clock.advance(seconds=30)
    shop.services.drain()
    assert traces(shop) == []


def test_a_host_s_file_keeps_its_settings_and_what_is_left_to_do_is_said(tmp_path: Path) -> None:
    database = SQLAlchemy()
    uri = f"sqlite:///{tmp_path / 'host.sqlite3'}"
    shop = Shop(tmp_path, database, SQLALCHEMY_DATABASE_URI=uri)
    statements: list[str] = []
    engine = shop.services.storage.engine()
    event.listen(engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
    customer(shop, "CUSTOMER-777")
    shop.services.drain()
    result = shop.run("forget", "CUSTOMER-777", "--yes", "--json")
    assert result.exit_code == 0
    assert "VACUUM" in result.stderr
    assert json.loads(result.stdout)["emptied"] == 1
    assert not [one for one in statements if "checkpoint" in one or "journal_mode" in one]
    shop.close()


# -- the audit log --------------------------------------------------------------------------------


def test_what_operators_did_is_kept_without_naming_the_customer(any_shop: Shop) -> None:
    customer(any_shop, "CUSTOMER-777")
    any_shop.services.drain()
    any_shop.clock.advance(seconds=1)
    assert any_shop.run("export", "CUSTOMER-777", "--why", "a request").exit_code == 0
    any_shop.clock.advance(seconds=1)
    assert any_shop.run("forget", EMAIL, "--yes", "--why", "another").exit_code == 0
    assert [word for word in TRACES if word in any_shop.everything()] == []

    listed = json.loads(any_shop.run("audit", "--json").stdout)
    assert [(entry["act"], entry["why"]) for entry in listed] == [
        ("forget", "another"),
        ("export", "a request"),
    ]
    assert all(entry["who"] for entry in listed)
    explained = any_shop.run("explain", "CUSTOMER-777").output
    assert "export by" in explained
    assert any_shop.run("prune", "--yes").exit_code == 0
    assert len(any_shop.rows("audit")) == 2
    any_shop.clock.advance(days=401)
    assert any_shop.run("prune", "--yes").exit_code == 0
    assert any_shop.rows("audit") == []


def test_another_process_sees_what_was_forgotten_and_blocked_within_ten_seconds(
    open_shop: Opening, database_url: str
) -> None:
    shop = open_shop(S2S_DATABASE_URI=database_url, S2S_CONSENT=None)
    other = open_shop(S2S_DATABASE_URI=database_url, S2S_CONSENT=None)
    customer(shop)
    shop.services.drain()
    customer(other, "43", "/?ps_xid=Other1234567", "other@example.com")
    forget(shop, "42")
    shop.run("block", "--click", "Blocked123456")
    other.clock.advance(seconds=10)
    customer(other, "42", "/?ps_xid=Another2345678")
    customer(other, "44", "/?ps_xid=Blocked123456", "blocked@example.com")
    rows = {row["customer_key"]: row["reason"] for row in shop.rows("delivery")}
    assert rows == {None: "cookie", "43": "cookie", "44": "blocked"}
