"""A delivery that always fails is not a network that fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from statistics import median

import pytest

from flask_s2s import Delivery
from flask_s2s.networks.messages import Request, Response
from flask_s2s.rules.retry import LATELY, TOO_MANY, FailureRule
from flask_s2s.testing import answered
from tests.verification.site import Site

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def any_poisoned(database_url: str) -> Iterator[Site]:
    yield from _poisoned(database_url)


@pytest.fixture
def poisoned(sqlite_url: str) -> Iterator[Site]:
    yield from _poisoned(sqlite_url)


def _poisoned(url: str) -> Iterator[Site]:
    site = Site(url, keys=False)
    site.line.instead = _answer
    yield site
    site.close()


def _answer(request: Request) -> Response | None:
    key = str((request.body or {})["customer_key"])
    return answered(500) if key.startswith("poison") else answered(200)


def poison(site: Site, count: int) -> list[Delivery]:
    click = site.click()
    return [site.sign_up(f"poison-{number}", click) for number in range(count)]


def wait_for(site: Site, delivery: Delivery) -> float:
    """Let time pass until it is settled; return how many seconds that took."""
    began = site.clock.now()
    site.services.drain()
    while site.row(delivery).due_at is not None:
        assert site.clock.now() - began < timedelta(hours=1)
        site.after(seconds=2)
    return (site.row(delivery).settled_at or site.clock.now()).timestamp() - began.timestamp()


def test_good_ones_pass_beside_poisonous_ones(poisoned: Site) -> None:
    poison(poisoned, 3 * TOO_MANY)
    click = poisoned.click()
    waits = []
    for number in range(6):
        poisoned.after(minutes=7)
        waits.append(wait_for(poisoned, poisoned.sign_up(f"good-{number}", click)))
    assert median(waits) < 60
    assert max(waits) < 60


def test_a_paused_lane_is_probed_with_what_was_tried_least(any_poisoned: Site) -> None:
    poison(any_poisoned, TOO_MANY)
    any_poisoned.services.drain()
    assert len(any_poisoned.services.supervisor.breakers.closed()) == 1
    good = any_poisoned.sign_up("good")
    assert wait_for(any_poisoned, good) <= 4
    assert any_poisoned.services.supervisor.breakers.closed() == []


def test_a_network_that_fails_is_left_alone_all_the_same(poisoned: Site) -> None:
    poisoned.line.instead = lambda request: answered(500)
    click = poisoned.click()
    for number in range(2 * TOO_MANY):
        poisoned.sign_up(f"good-{number}", click)
    poisoned.line.requests.clear()
    for _ in range(60):
        poisoned.after(minutes=1)
    # Twenty until that is known; then one probe after 2, 4, 8, 16 seconds, and each half a minute.
    assert len(poisoned.line.requests) <= TOO_MANY + 65
    assert len(poisoned.services.supervisor.breakers.closed()) == 1
    poisoned.line.mend()
    poisoned.after(seconds=31)
    poisoned.after(minutes=1)
    assert poisoned.services.supervisor.breakers.closed() == []


def trips(breaker: FailureRule, count: int, *, tries: int, now: datetime = NOW) -> list[bool]:
    return [breaker.trips("lane", failed=True, tries=tries, now=now) for _ in range(count)]


def test_failures_in_a_row_open_the_breaker_and_it_begins_again() -> None:
    breaker = FailureRule()
    assert trips(breaker, 2 * TOO_MANY, tries=1) == ([False] * (TOO_MANY - 1) + [True]) * 2


def test_what_failed_before_says_nothing_while_others_are_answered() -> None:
    breaker = FailureRule()
    breaker.trips("lane", failed=False, tries=1, now=NOW)
    assert not any(trips(breaker, 10 * TOO_MANY, tries=2, now=NOW + LATELY / 2))
    assert any(trips(breaker, TOO_MANY, tries=1, now=NOW + LATELY / 2))


def test_without_an_answer_for_a_while_every_failure_counts() -> None:
    breaker = FailureRule()
    breaker.trips("lane", failed=False, tries=1, now=NOW)
    assert any(trips(breaker, TOO_MANY, tries=9, now=NOW + LATELY))
