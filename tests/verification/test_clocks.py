"""A clock that is wrong for a while: nothing is given up, doubled or put off without a word."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from freezegun import freeze_time
from sqlalchemy import update

from flask_s2s import Click, Delivery, Services, Settings, Status
from flask_s2s.conversion import Action, Transaction
from flask_s2s.errors import TransportError
from flask_s2s.networks.messages import Request, Response
from flask_s2s.testing import ManualClock, ScriptedTransport, not_connected
from tests.delivery.test_clocks import set_server
from tests.verification.conftest import Opening
from tests.verification.site import CONFIG, KEYS, Site
from tests.verification.test_command import run
from tests.verification.test_payments import PAYMENT, STEP, accept_and_drop, posts, with_customer

YEAR = timedelta(days=365)


def jump_for_seconds(site: Site) -> None:
    site.clock.step(YEAR)
    site.services.drain()
    site.clock.advance(seconds=8)
    site.services.drain()
    site.clock.step(-YEAR)


@pytest.fixture
def right_network(open_site: Opening) -> Site:
    """A site whose own clock may jump, and whose network's does not."""
    return open_site(network_clock=ManualClock())


def test_a_payment_is_not_missing_because_a_clock_was_ahead(right_network: Site) -> None:
    site = right_network
    delivery = with_customer(site).track(PAYMENT)
    accept_and_drop(site)
    site.services.drain()
    jump_for_seconds(site)
    assert (site.status(delivery), site.row(delivery).checks) == (Status.DELIVERED, 0)


def test_a_sign_up_is_not_given_up_because_a_clock_was_ahead(right_network: Site) -> None:
    site = right_network
    delivery = site.sign_up()
    site.services.drain()
    site.line.cut_api()
    site.after(minutes=15)
    jump_for_seconds(site)
    assert site.row(delivery).verify_at is not None, site.detail(delivery)
    site.line.mend()
    site.services.drain()
    site.after(minutes=15)
    assert site.status(delivery) is Status.CONFIRMED


def lose_the_answer(site: Site) -> Delivery:
    delivery = with_customer(site).track(PAYMENT)

    def lose(request: Request) -> Response | None:
        if request.method == "POST":
            raise TransportError("no answer", sent=True)
        return None

    site.line.instead = lose
    site.services.drain()
    site.line.mend()
    return delivery


def test_a_process_that_just_began_asks_the_network_for_the_time(site: Site) -> None:
    """A site that is deployed every ten minutes would never have counted a quarter of an hour."""
    delivery, sent = lose_the_answer(site), posts(site)
    site.clock.advance(minutes=16)
    site.another().drain()
    assert site.status(delivery) is Status.DELIVERED
    assert (posts(site), site.ledger()["totals"]["transactions"]) == (sent + 1, 1)


def test_a_payment_is_not_repeated_because_a_clock_was_ahead(right_network: Site) -> None:
    site = right_network
    delivery, sent = lose_the_answer(site), posts(site)
    jump_for_seconds(site)
    assert (site.status(delivery), posts(site)) == (Status.WAITING, sent)


@pytest.mark.parametrize("reward", [PAYMENT, STEP])
def test_a_reward_that_was_recorded_by_a_clock_that_was_ahead_is_found(
    right_network: Site, reward: Transaction | Action
) -> None:
    site = with_customer(right_network)
    site.clock.step(YEAR)
    delivery = site.track(reward)
    site.clock.step(-YEAR)
    site.switch(reset_after_write=1.0, repeated_reward="second")
    site.after(minutes=6)
    assert site.row(delivery).ambiguous_at
    site.switch(reset_after_write=0.0)
    for _ in range(3):
        site.after(minutes=31)
    totals = site.ledger()["totals"]
    assert totals["transactions"] + totals["actions"] == 1
    assert site.status(delivery) is Status.CONFIRMED, site.detail(delivery)


@pytest.mark.parametrize("reward", [PAYMENT, STEP])
def test_a_reward_that_was_sent_by_a_clock_that_was_ahead_is_found_later(
    right_network: Site, reward: Transaction | Action
) -> None:
    """Nobody came for a day: by then all its times lie behind, and none is the network's."""
    site = with_customer(right_network)
    site.switch(reset_after_write=1.0, repeated_reward="second")
    site.clock.step(hours=20)
    delivery = site.track(reward)
    site.services.drain()
    assert site.row(delivery).ambiguous_at
    site.clock.step(hours=-20)
    site.switch(reset_after_write=0.0)
    for hours in (21, 1, 1):
        site.after(hours=hours)
    # Transactions, too.
    sent = [one for one in site.line.asked("actions") if one.method == "POST"]
    assert (len(sent), site.status(delivery)) == (1, Status.CONFIRMED), site.detail(delivery)


def test_a_reward_is_not_missing_a_day_after_a_clock_was_a_day_ahead(right_network: Site) -> None:
    site = with_customer(right_network)
    site.clock.step(days=1)
    delivery = site.track(STEP)
    site.services.drain()
    site.clock.step(days=-1)
    for days in (1, 2, 3):
        site.after(days=days)
    assert site.status(delivery) is Status.CONFIRMED, site.detail(delivery)


@pytest.mark.service
def test_nothing_is_given_up_by_the_time_of_a_database_that_was_away(mariadb_url: str) -> None:
    """Its clock was ahead; it comes back with the right one, and no worker has looked at that yet."""
    settings = Settings.from_mapping({**CONFIG, **KEYS, "S2S_DATABASE_URI": mariadb_url})
    network = ScriptedTransport()
    services = Services.build(settings, transport=network)
    services.storage.create()
    engine = services.storage.engine()
    with freeze_time("2026-06-01") as frozen:
        set_server(engine, timedelta(0))
        click = Click(click_id="click1", at=datetime.now(timezone.utc))
        signup = services.track_signup(customer_key="42", click=click)
        assert signup
        services.drain()
        network.then(not_connected())
        set_server(engine, YEAR)
        frozen.tick(60)
        services.drain()
        frozen.tick(7200)
        set_server(engine, timedelta(0))
        services.supervisor.verifier().run_once()
    found = services.ledger.get(signup.id)
    assert found
    assert found[0].verify_at is not None, found[0].detail
    services.close()


@pytest.mark.parametrize("column", ["due_at", "verify_at"])
def test_status_and_check_tell_of_what_a_clock_has_put_off(any_site: Site, column: str) -> None:
    delivery = any_site.sign_up()
    if column == "verify_at":
        any_site.services.supervisor.worker().run_once()
    rows = any_site.services.storage.tables.delivery
    ahead = {column: any_site.row(delivery).created_at + YEAR}
    with any_site.services.storage.engine().begin() as connection:
        connection.execute(update(rows).values(ahead))
    told = "1 put off further than anything is, by a clock that was ahead"
    for command in ("status", "check"):
        said = run(any_site, command)
        assert (said.exit_code, told in said.output) == (1, True), said.output
    any_site.after(minutes=6)
    assert told not in run(any_site, "status").output
