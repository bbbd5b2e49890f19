"""What has been settled costs nothing: each database tells which index it reads, and scans nothing.

How long it takes is for the benchmark of the same name, with a million rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from flask_s2s import Services
from tests.benchmarks.filling import analyse, fill
from tests.benchmarks.plans import claim, finds_the_same_by, reads
from tests.delivery.shop import Shop

SETTLED, WAITING = 20_000, 200


@pytest.fixture(scope="module")
def busy_site(lasting_database_url: str) -> Iterator[Services]:
    """A site with a long past, whose database knows how its rows are distributed."""
    with closing(Shop(lasting_database_url)) as shop:
        fill(shop.services, SETTLED, prefix="settled", settled=True)
        fill(shop.services, WAITING, prefix="waiting")
        analyse(shop.services.storage.engine())
        yield shop.services


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(claim, id="claim"),
        pytest.param(lambda site: site.outbox.next_due(), id="when the next is due"),
        pytest.param(
            lambda site: site.outbox.next_due(["partnerstack/api"]), id="the next of open lanes"
        ),
    ],
)
def test_only_what_is_due_is_looked_at(
    busy_site: Services, act: Callable[[Services], object]
) -> None:
    read = reads(busy_site, lambda: act(busy_site))
    keys = {"PRIMARY", "s2s_delivery_pkey"}
    assert set(read.removeprefix("reads by ").split(", ")) - keys == {"ix_s2s_delivery_due"}


def test_a_claim_takes_what_is_due_among_very_many(busy_site: Services) -> None:
    now = busy_site.clock.now()
    taken = busy_site.outbox.claim(limit=5, now=now, lease=busy_site.settings.lease)
    assert len(taken) == 5
    assert {(one.customer_key or "")[:7] for one in taken} == {"waiting"}


def test_an_add_finds_the_one_that_is_there_by_the_unique_index(busy_site: Services) -> None:
    assert finds_the_same_by(busy_site) in ("uq_s2s_delivery", "sqlite_autoindex_s2s_delivery_1")
