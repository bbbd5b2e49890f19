"""Celery as the engine, with real brokers and workers, and what it survives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import make_url

from tests.integrations.brokers import OwnRabbitMQ, OwnRedis, Wire
from tests.integrations.conftest import PATIENCE, Site
from tests.waiting import wait_until

pytestmark = [pytest.mark.service, pytest.mark.slow]

OpenSite = Callable[..., Site]


@pytest.fixture
def wire(rabbitmq_url: str) -> Iterator[Wire]:
    url = make_url(rabbitmq_url)
    wire = Wire(url.host or "127.0.0.1", url.port or 5672)
    yield wire
    wire.close()


@pytest.mark.parametrize(
    ("database", "broker"), [("sqlite_url", "redis_url"), ("postgresql_url", "rabbitmq_url")]
)
def test_a_hint_has_each_sign_up_credited_where_no_sweep_runs(
    open_site: OpenSite, request: pytest.FixtureRequest, database: str, broker: str
) -> None:
    site = open_site(request.getfixturevalue(database), request.getfixturevalue(broker))
    site.start_worker(beat=False)
    site.sign_up("before the worker is up")
    wait_until(lambda: site.are_delivered("before the worker is up"), PATIENCE)
    later = [f"customer {number}" for number in range(6)]
    site.sign_up(*later)
    everybody = sorted(["before the worker is up", *later])
    wait_until(lambda: site.are_delivered(*everybody), PATIENCE)
    assert site.credited() == [(key, "ada") for key in everybody]
    assert "Traceback" not in site.log()


def test_a_redis_killed_between_commit_and_hint_costs_nothing(
    open_site: OpenSite, own_redis: OwnRedis, sqlite_url: str
) -> None:
    site = open_site(sqlite_url, own_redis.url)
    site.start_worker(beat=True)
    site.sign_up("before")
    wait_until(lambda: site.are_delivered("before"), PATIENCE)

    own_redis.freeze()
    # The page returns although the broker answers nobody.
    site.sign_up("between")
    own_redis.kill()
    site.sign_up("without a broker")
    # Kept; whether a sweep that was under way has sent them already is all the same.
    assert site.statuses().keys() == {"before", "between", "without a broker"}
    own_redis.start()
    wait_until(lambda: site.are_delivered("before", "between", "without a broker"), PATIENCE)
    assert [key for key, _ in site.credited()] == ["before", "between", "without a broker"]


def test_a_rabbitmq_that_is_killed_costs_nothing(
    # The broker comes first, to be there when the site cleans up behind itself.
    own_rabbitmq: OwnRabbitMQ,
    open_site: OpenSite,
    postgresql_url: str,
) -> None:
    site = open_site(postgresql_url, own_rabbitmq.url)
    site.start_worker(beat=True)
    site.sign_up("before")
    wait_until(lambda: site.are_delivered("before"), PATIENCE)

    own_rabbitmq.kill()
    site.sign_up("without a broker")
    assert site.statuses().keys() == {"before", "without a broker"}
    own_rabbitmq.start()
    wait_until(lambda: site.are_delivered("before", "without a broker"), PATIENCE)
    assert [key for key, _ in site.credited()] == ["before", "without a broker"]


def test_a_rabbitmq_that_is_cut_off_costs_nothing(
    # The wire comes first, to be there when the site cleans up behind itself.
    wire: Wire,
    open_site: OpenSite,
    rabbitmq_url: str,
    postgresql_url: str,
) -> None:
    broker = make_url(rabbitmq_url).set(host="127.0.0.1", port=wire.port)
    site = open_site(postgresql_url, broker.render_as_string(hide_password=False))
    site.start_worker(beat=True)
    site.sign_up("before")
    wait_until(lambda: site.are_delivered("before"), PATIENCE)

    wire.cut()
    site.sign_up("cut off")
    assert site.statuses().keys() == {"before", "cut off"}
    wire.mend()
    wait_until(lambda: site.are_delivered("before", "cut off"), PATIENCE)
    assert [key for key, _ in site.credited()] == ["before", "cut off"]


def test_a_worker_killed_in_the_middle_of_a_post_is_replaced_and_the_customer_counted_once(
    open_site: OpenSite, redis_url: str, sqlite_url: str
) -> None:
    # An attempt ends after a quarter of the lease: it must last until the kill.
    site = open_site(sqlite_url, redis_url, lease=20)
    site.set_faults(timeout_after_write=1, hold_seconds=60)
    site.start_worker(beat=False)
    site.sign_up("42")
    wait_until(lambda: len(site.ledger()["customers"]) == 1, PATIENCE)
    site.kill_workers()
    assert site.statuses() == {"42": "sending"}

    site.set_faults()
    site.start_worker(beat=True)
    wait_until(lambda: site.are_delivered("42"), PATIENCE)
    assert site.credited() == [("42", "ada")]
    (delivery,) = site.services.ledger.find()
    found = site.services.ledger.get(delivery.id)
    assert found is not None
    outcomes = [attempt.outcome for attempt in found[1]]
    assert (outcomes[0], outcomes[-1]) == ("ambiguous", "accepted")
