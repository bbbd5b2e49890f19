"""Our records against the network's: each sort of difference, found from either side, and nothing else."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from flask_s2s import Action, Reversal, Services, Status, Transaction
from flask_s2s.networks.messages import Request, Response
from flask_s2s.operations.reconcile import Comparison, Side, reconcile
from flask_s2s.sandbox.books.partners import PARTNERS
from tests.verification.site import KEYS, Site
from tests.verification.test_command import run

NETWORK = "partnerstack"
ADA = PARTNERS["ada"].key


def compared(site: Site, days: int = 30, services: Services | None = None) -> Comparison:
    since = site.clock.now() - timedelta(days=days)
    return reconcile(services or site.services, NETWORK, since)


def only(found: Comparison, side: Side) -> Any:
    assert found.unread == {}
    assert [one.side for one in found.differences] == [side]
    return found.differences[0]


def pay(site: Site, invoice: str, key: str = "42", amount: int = 4900, **fields: Any) -> None:
    site.track(Transaction(customer_key=key, amount=amount, currency="USD", key=invoice, **fields))


def some(site: Site) -> None:
    """Let two customers sign up, one act and pay three times, and undo one of it."""
    site.sign_up("42", replace(site.click(), partner_key=ADA))
    site.sign_up("43")
    site.after(minutes=1)
    site.track(Action(customer_key="42", type="demo"))
    site.track(Action(customer_key="42", type="call", key="call-1"))
    for invoice in ("in_1", "in_2", "in_3"):
        pay(site, invoice)
    site.after(minutes=20)
    site.track(Reversal(customer_key="42", transaction_key="in_3"))
    site.after(minutes=1)
    site.after(hours=2)


def delete(site: Site, path: str) -> None:
    assert site.http.delete(f"/api/v2{path}", auth=tuple(KEYS.values())).status_code == 200


def with_listed(site: Site, path: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Let the network show a list otherwise than it is."""

    def answer(request: Request) -> Response | None:
        if f"/api/v2/{path}?" not in request.url:
            return None
        site.line.instead = lambda request: None
        response = site.line.send(request, seconds=5)
        site.line.instead = answer
        body = json.loads(response.body)
        for item in body["data"]["items"]:
            change(item)
        return Response(status=200, body=json.dumps(body).encode())

    site.line.instead = answer


def test_what_both_have_is_no_difference(any_site: Site) -> None:
    some(any_site)
    found = compared(any_site)
    assert found.unread == {}
    assert found.differences == ()
    # Two sign-ups, two actions, and two payments that were not undone.
    assert (found.alike, found.ours, found.theirs, found.under_way) == (6, 6, 6, 0)


def test_what_the_network_lost_is_only_here(any_site: Site) -> None:
    some(any_site)
    delete(any_site, "/transactions/in_2")
    one = only(compared(any_site), Side.HERE)
    assert (one.kind, one.key, one.customer_key, one.amount) == ("transaction", "in_2", "42", 4900)
    assert one.partner_key == ADA
    assert one.likely.startswith("it was on their record")


def test_what_was_entered_there_is_only_there(any_site: Site) -> None:
    some(any_site)
    body = {"customer_external_key": "42", "amount": 100, "currency": "USD", "key": "by-hand"}
    posted = any_site.http.post("/api/v2/transactions", json=body, auth=tuple(KEYS.values()))
    assert posted.status_code == 200
    one = only(compared(any_site), Side.THERE)
    assert (one.delivery_id, one.key, one.customer_key) == (None, "by-hand", "42")
    assert (one.amount, one.likely) == (100, "entered there by somebody else")


def test_a_customer_whom_we_did_not_credit_says_why(site: Site) -> None:
    site.services.track_signup(customer_key="7", environ={})
    site.clock.advance(timedelta(hours=1))
    xid = site.click().click_id
    auth = {"Authorization": "Bearer sandbox-token"}
    body = {"xid": xid, "customer_key": "7"}
    assert site.http.post("/conversion/xid", json=body, headers=auth).status_code == 200
    one = only(compared(site), Side.THERE)
    assert one.delivery_id is not None
    assert one.likely == "not accepted here: Not credited (No click)"


def test_another_amount_and_another_partner_are_told(site: Site) -> None:
    some(site)
    with_listed(site, "transactions", lambda item: item.update(amount=item["amount"] * 100))
    found = compared(site)
    assert [dict(one.differs) for one in found.differences] == [
        {"amount": ("49.00 USD", "4,900.00 USD")}
    ] * 2
    assert (found.ours, found.theirs) == (6, 6)
    with_listed(site, "customers", lambda item: item.update(partner_key="another"))
    found = compared(site)
    # Of the other one we know no partner.
    assert [(one.customer_key, dict(one.differs)) for one in found.differences] == [
        ("42", {"partner": (ADA, "another")})
    ]


def test_a_field_that_they_do_not_show_is_not_compared(site: Site) -> None:
    some(site)

    def hide(item: dict[str, Any]) -> None:
        for name in ("partner_key", "test", "created_at", "customer_external_key"):
            item.pop(name)

    with_listed(site, "customers", hide)
    assert compared(site).differences == ()


def test_a_test_record_of_a_live_sign_up_is_told(open_site: Callable[..., Site]) -> None:
    site = open_site(
        S2S_TOKEN="sandbox-test-token",
        S2S_PARTNERSTACK_PUBLIC_KEY="pk_sandbox_test",
        S2S_PARTNERSTACK_SECRET_KEY="sk_sandbox_test",
    )
    site.sign_up("42")
    site.after(minutes=1)
    site.after(hours=1)
    one = only(compared(site), Side.UNLIKE)
    assert dict(one.differs) == {"test": ("live", "test")}


def test_a_payment_that_was_undone_and_is_still_there_is_told(site: Site) -> None:
    some(site)
    body = {"customer_external_key": "42", "amount": 4900, "currency": "USD", "key": "in_3"}
    site.http.post("/api/v2/transactions", json=body, auth=tuple(KEYS.values()))
    one = only(compared(site), Side.UNLIKE)
    assert (one.key, dict(one.differs)) == ("in_3", {"state": ("undone", "still there")})


def test_what_they_have_twice_is_told_once(site: Site) -> None:
    some(site)
    site.switch(repeated_reward="second")
    body = {"customer_external_key": "42", "amount": 4900, "currency": "USD", "key": "in_1"}
    site.http.post("/api/v2/transactions", json=body, auth=tuple(KEYS.values()))
    one = only(compared(site), Side.THERE)
    assert (one.key, one.likely) == ("in_1", "they have it twice")


def test_what_is_too_new_for_their_list_is_under_way(site: Site) -> None:
    site.switch(readable_after_seconds=360)
    site.sign_up("42")
    site.after(seconds=1)
    found = compared(site)
    assert (found.differences, found.under_way, found.ours, found.theirs) == ((), 1, 1, 0)
    site.clock.advance(timedelta(minutes=7))
    assert compared(site).alike == 1


def test_what_is_sent_and_not_yet_settled_is_under_way(site: Site) -> None:
    site.switch(error_after_write=1)
    site.sign_up("42")
    site.after(seconds=1)
    site.switch()
    found = compared(site)
    assert (found.differences, found.under_way_there, found.ours, found.theirs) == ((), 1, 0, 1)


def test_what_a_forgotten_customer_did_is_known_by_its_hash_and_never_told_as_lost(
    any_site: Site,
) -> None:
    some(any_site)
    assert run(any_site, "forget", "42", "--yes").exit_code == 0
    found = compared(any_site)
    assert (found.differences, found.alike) == ((), 6)
    delete(any_site, "/transactions/in_2")
    found = compared(any_site)
    assert (found.differences, found.alike) == ((), 5)


def test_what_is_older_is_on_neither_side(any_site: Site) -> None:
    some(any_site)
    any_site.clock.advance(timedelta(days=40))
    found = compared(any_site)
    assert (found.ours, found.theirs, found.differences) == (0, 0, ())


def test_what_was_recorded_within_their_clocks_hour_before_is_on_neither_side(site: Site) -> None:
    some(site)
    since = site.clock.now() - timedelta(minutes=141, seconds=30)
    found = reconcile(site.services, NETWORK, since)
    # The sign-ups are half a minute older: their list shows them all the same.
    assert (found.differences, found.ours, found.theirs) == ((), 4, 4)


def test_a_payment_that_happened_before_the_days_is_found_where_they_list_it(site: Site) -> None:
    site.sign_up("42")
    site.after(minutes=1)
    long_ago = site.clock.now() - timedelta(days=50)
    pay(site, "in_old", created_at=int(long_ago.timestamp() * 1000))
    # So long ago the list is read for it alone: what else is there is of another time.
    other: dict[str, Any] = {
        "customer_external_key": "42",
        "amount": 100,
        "currency": "USD",
        "key": "by-hand",
    }
    other["created_at"] = int((long_ago + timedelta(days=1)).timestamp() * 1000)
    site.after(hours=1)
    posted = site.http.post("/api/v2/transactions", json=other, auth=tuple(KEYS.values()))
    assert posted.status_code == 200
    site.after(hours=1)
    found = compared(site)
    assert (found.differences, found.alike) == ((), 2)


def test_a_list_of_many_pages_is_read_to_its_end(site: Site) -> None:
    click = site.click()
    for number in range(7):
        site.sign_up(f"c{number}", click)
    site.after(minutes=1)
    site.after(hours=1)

    def short(request: Request) -> Response | None:
        if "limit=250" in request.url:
            url = request.url.replace("limit=250", "limit=3")
            return site.line.send(replace(request, url=url), seconds=5)
        return None

    site.line.instead = short
    pages: list[int] = []
    since = site.clock.now() - timedelta(days=1)
    found = reconcile(site.services, NETWORK, since, read=pages.append)
    assert (found.alike, found.differences) == (7, ())
    assert pages[:3] == [3, 3, 1]


# -- the command ------------------------------------------------------------------------------------


def test_the_command_exits_by_what_it_found(site: Site) -> None:
    some(site)
    clean = run(site, "reconcile")
    assert (clean.exit_code, "No difference." in clean.stdout) == (0, True)
    delete(site, "/transactions/in_2")
    differ = run(site, "reconcile")
    assert differ.exit_code == 1
    assert "Only here: 1" in differ.stdout
    assert "Payment 6 in_2" in differ.stdout
    told = json.loads(run(site, "reconcile", "--json").stdout)["networks"][0]
    assert told["counts"] == {"only_here": 1, "only_there": 0, "not_alike": 0}
    assert told["ours"] == 6
    assert told["theirs"] == 5
    (row,) = csv.DictReader(run(site, "reconcile", "--csv", "-").stdout.splitlines())
    assert (row["side"], row["key"], row["amount_minor"]) == ("only_here", "in_2", "4900")
    assert run(site, "reconcile", "--since", "nonsense").exit_code == 2
    assert run(site, "reconcile", "--network", "nobody").exit_code == 2


def test_a_network_that_cannot_be_read_is_no_difference(open_site: Callable[..., Site]) -> None:
    site = open_site()
    some(site)
    site.line.cut_api()
    result = run(site, "reconcile")
    assert result.exit_code == 3
    assert "partnerstack: signups were not compared: " in result.stderr
    assert "No difference." not in result.stdout


def test_without_keys_nothing_can_be_compared(open_site: Callable[..., Site]) -> None:
    site = open_site(keys=False)
    result = run(site, "reconcile")
    assert result.exit_code == 3
    assert "S2S_PARTNERSTACK_PUBLIC_KEY" in result.stderr


# -- the advertiser's own table -------------------------------------------------------------------


def table(url: str) -> str:
    """Make the advertiser's own table, with one who is recorded here and two who are not."""
    engine = create_engine(url)
    at = datetime(2025, 12, 31, 3, 10, tzinfo=timezone.utc).replace(tzinfo=None)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE users (id VARCHAR(9), created_at TIMESTAMP NULL)"))
        for key, days in (("42", 0), ("50", 0), ("51", 0), ("9", 99)):
            row = {"id": key, "at": at - timedelta(days=days)}
            adding = text("INSERT INTO users VALUES (:id, :at)")
            connection.execute(adding.bindparams(**row))
    engine.dispose()
    return "SELECT id, created_at FROM users WHERE created_at >= :since ORDER BY id"


def test_sign_ups_of_the_own_table_are_found_by_a_query(database_url: str) -> None:
    site = Site(database_url, S2S_CUSTOMERS=table(database_url))
    try:
        some(site)
        result = run(site, "reconcile")
        assert result.exit_code == 1
        assert "In your customer table, never recorded here: 2" in result.stdout
        told = json.loads(run(site, "reconcile", "--json").stdout)["never_recorded"]
        assert [one["customer_key"] for one in told] == ["50", "51"]
        assert run(site, "backfill", "--since", "30d", input="n\n").exit_code == 1
        done = run(site, "backfill", "--since", "30d", "--yes", "--why", "outage", "--json")
        assert json.loads(done.stdout) == {"recorded": 2, "credited": 0, "not_credited": 2}
        again = run(site, "backfill", "--since", "30d")
        assert (again.exit_code, again.stdout) == (0, "Every sign-up of your table is here.\n")
        assert [one.reason for one in site.services.ledger.find(customer="50")] == [
            "outside_request"
        ]
        (entry,) = site.services.audit.newest(1)
        assert (entry.act, entry.why, entry.detail["deliveries"]) == ("backfill", "outage", 2)
        assert run(site, "reconcile").exit_code == 0
    finally:
        site.close()


def test_a_backfill_credits_by_the_click_and_the_address_that_the_table_has(
    open_site: Callable[..., Site],
) -> None:
    rows: list[Any] = []
    site = open_site(
        S2S_CUSTOMERS=lambda since: [row for row in rows if row["created_at"] >= since]
    )
    click = site.click()
    at = site.clock.now()
    rows.append({"customer_key": 50, "created_at": at, "click_id": click.click_id})
    rows.append({"customer_key": 51, "created_at": at, "email": "m@example.com"})
    done = run(site, "backfill", "--yes", "--json")
    assert json.loads(done.stdout) == {"recorded": 2, "credited": 1, "not_credited": 1}
    site.after(minutes=1)
    (credited,) = site.services.ledger.find(customer="50")
    assert (credited.status, credited.reason) == (Status.DELIVERED, "explicit")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("", "2026-01-01"), "a customer key that is empty"),
        (("5", "yesterday"), "gave 'yesterday' where a time belongs"),
        (("5",), "gave None where a time belongs"),
        (("5", "2026-01-01", None, "no click!"), "gave a click ID that is none, of 5"),
        ({"id": 5}, "gave a row without customer_key"),
    ],
)
def test_a_row_that_cannot_be_read_is_said(
    open_site: Callable[..., Site], row: Any, says: str
) -> None:
    site = open_site(S2S_CUSTOMERS=lambda since: [row])
    result = run(site, "backfill", "--yes")
    assert result.exit_code == 1
    assert says in result.stderr


def test_without_an_own_table_a_backfill_says_what_to_set(site: Site) -> None:
    result = run(site, "backfill")
    assert result.exit_code == 1
    assert "S2S_CUSTOMERS is not set" in result.stderr
