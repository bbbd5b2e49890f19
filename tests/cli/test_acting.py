"""`retry`, `credit` and `work --once`: what an operator does by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from flask_s2s.conversion import Action
from flask_s2s.testing import accepted, answered
from tests.cli.conftest import Site

SCHEMA = '{"message": "\'xid\' is a required property", "status": 400}'


def test_retry_asks_first_and_then_sends(site: Site) -> None:
    site.network.then(answered(400, SCHEMA))
    site.sign_up()
    site.drain()
    refused = site.run("retry", "--status", "refused", input="n\n")
    assert refused.exit_code == 1
    assert "Send 1 delivery again?" in refused.stderr
    assert site.drain() == 0
    asked = site.run("retry", "--status", "refused", input="y\n")
    assert asked.exit_code == 0
    assert "1 is due now" in asked.stdout
    site.network.then(accepted())
    assert site.drain() == 1


def test_retry_without_a_question(site: Site) -> None:
    site.network.then(answered(400, SCHEMA))
    for key in "ab":
        site.sign_up(key)
    site.drain()
    result = site.run("retry", "--since", "2026-01-01", "--yes")
    assert result.exit_code == 0
    assert "2 are due now" in result.stdout


def test_retry_of_one_network_counts_and_sends_only_its_own(site: Site) -> None:
    site.network.then(answered(400, SCHEMA))
    for key in "abc":
        site.sign_up(key)
    site.drain()
    _belongs_elsewhere(site, "c")
    asked = site.run("retry", "--network", "partnerstack", input="y\n")
    assert asked.exit_code == 0
    assert "Send 2 deliveries again?" in asked.stderr
    assert "2 are due now" in asked.stdout
    statuses = {row.customer_key: row.status.value for row in site.services.ledger.find()}
    assert statuses == {"a": "pending", "b": "pending", "c": "refused"}


def test_retry_narrows_with_each_option(site: Site) -> None:
    site.network.then(answered(400, SCHEMA))
    for key in "ab":
        site.sign_up(key)
    site.drain()
    _belongs_elsewhere(site, "b")
    none = site.run("retry", "--network", "partnerstack", "--id", "2", "--yes")
    assert none.exit_code == 1
    one = site.run("retry", "--network", "partnerstack", "--status", "refused", "--yes")
    assert "1 is due now" in one.stdout


def test_retry_of_a_network_that_is_not_there_names_those_that_are(site: Site) -> None:
    wrong = site.run("retry", "--network", "partnerstak", "--yes")
    assert wrong.exit_code == 2
    assert "partnerstack" in wrong.stderr


def _belongs_elsewhere(site: Site, key: str) -> None:
    """Make a customer's delivery one of a network that this version does not speak to."""
    rows = site.services.storage.tables.delivery
    with site.services.storage.engine().begin() as connection:
        connection.execute(
            rows.update().where(rows.c.customer_key == key).values(network="another")
        )


def test_retry_of_nothing_and_of_everything_is_refused(site: Site) -> None:
    assert site.run("retry", "--yes").exit_code == 2
    none = site.run("retry", "--status", "expired", "--yes")
    assert none.exit_code == 1
    assert "None of these" in none.stderr
    site.sign_up()
    site.drain()
    assert site.run("retry", "--id", "1", "--yes").exit_code == 1, "it is delivered"


def test_retry_asks_again_for_a_customer_whom_the_network_did_not_know(
    open_site: Callable[..., Site],
) -> None:
    keys = {"S2S_PARTNERSTACK_PUBLIC_KEY": "public", "S2S_PARTNERSTACK_SECRET_KEY": "secret"}
    site = open_site(**keys)
    site.services.supervisor.prepare()
    site.services.track_signup(customer_key="without a click")
    site.services.track(Action(customer_key="42", type="activated"))
    site.network.then(answered(404, '{"message": "Customer not found", "status": 404}'))
    site.clock.advance(minutes=16)
    site.drain()
    result = site.run("retry", "--status", "unattributed", "--yes")
    assert "1 is due now" in result.stdout
    site.network.then(answered(200, '{"data": {"customer_key": "42"}, "status": 200}'))
    site.drain()
    statuses = {row.kind: row.status.value for row in site.services.ledger.find()}
    assert statuses == {"signup": "unattributed", "action": "delivered"}


def test_retry_of_one_says_why_there_is_nothing_to_send(site: Site) -> None:
    site.sign_up()
    site.drain()
    site.services.track_signup(customer_key="lost")
    site.sign_up("new")
    site.services.supervisor.claims.claim(limit=1, now=site.clock.now(), lease=timedelta(minutes=1))
    for number, says in (
        (1, "Delivery 1 is delivered: there is nothing to send."),
        (2, "Delivery 2 is unattributed: there is nothing to send."),
        (3, "Delivery 3 is sending: it goes out by itself."),
        (9, "There is no delivery 9."),
    ):
        result = site.run("retry", "--id", str(number), "--yes")
        assert (result.exit_code, result.stderr) == (1, f"Error: {says}\n")


def test_retry_shows_first_what_it_would_send(site: Site) -> None:
    site.network.then(answered(400, SCHEMA))
    for key in range(12):
        site.sign_up(key)
    site.drain()
    site.network.then(answered(503))
    site.sign_up("late")
    site.drain()
    asked = site.run("retry", "--since", "2026-01-01", input="n\n").stderr
    words = [line.split() for line in asked.splitlines()]
    assert ["refused", "signup", "partnerstack", "12"] in words
    assert ["pending", "signup", "partnerstack", "1"] in words
    assert ["1", "refused", "signup", "0"] in [line[:4] for line in words]
    assert "the first 10 of 13" in asked
    assert asked.count("2026-") == 10


def test_retry_that_was_answered_does_not_ask_or_show(site: Site) -> None:
    site.network.then(answered(400, SCHEMA))
    site.sign_up()
    site.drain()
    assert site.run("retry", "--id", "1", "--yes").stderr == ""


@pytest.mark.parametrize("command", ["retry", "prune", "forget"])
def test_without_anybody_to_ask_nothing_is_done(site: Site, command: str) -> None:
    site.network.then(answered(400, SCHEMA))
    site.sign_up()
    site.sign_up("lost", click_id="click2")
    site.drain()
    site.clock.advance(days=401)
    what = {"retry": ["--id", "1"], "forget": ["42"], "prune": ["--dead-letters"]}
    result = site.run(command, *what[command], input="")
    assert result.exit_code == 1
    assert site.drain() == 0
    assert [row.customer_key for row in site.services.ledger.find()] == ["lost", "42"]


def test_credit_gives_an_unattributed_customer_a_click(site: Site) -> None:
    site.services.supervisor.prepare()
    site.services.track_signup(customer_key="42")
    result = site.run("credit", "42", "--click", "late1")
    assert result.exit_code == 0
    assert "has not seen that click" in result.stderr
    assert site.drain() == 1
    assert site.network.requests[0].body == {"xid": "late1", "customer_key": "42"}
    again = site.run("credit", "42", "--click", "other1")
    assert again.exit_code == 1
    assert "flask s2s explain 42" in again.stderr


def test_credit_of_a_customer_who_was_never_recorded(site: Site) -> None:
    told = json.loads(site.run("credit", "new", "--click", "c1", "--json").stdout)
    assert (told["customer_key"], told["status"], told["reason"]) == ("new", "pending", "credited")


@pytest.mark.parametrize("bad", ["", "a b", "ä", "x" * 513])
def test_credit_takes_no_click_that_cannot_be_one(site: Site, bad: str) -> None:
    assert site.run("credit", "42", "--click", bad).exit_code == 2


def test_credit_takes_no_customer_without_a_key(site: Site) -> None:
    assert site.run("credit", "None", "--click", "c1").exit_code == 1


def test_work_once_sends_what_is_due_and_leaves(site: Site) -> None:
    for key in range(12):
        site.sign_up(key)
    assert site.run("work", "--once").exit_code == 0
    assert len(site.network.requests) == 12
    assert site.run("status").exit_code == 0
