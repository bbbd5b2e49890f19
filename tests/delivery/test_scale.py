"""Settled deliveries, and those of a closed lane, cost nothing: the index says so that is read.

Each database tells which one that is, and that it scans nothing. How long it takes is for the
benchmark of the same name, with a million rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from flask_s2s import Services
from flask_s2s.conversion import Conversion, Reversal, Transaction
from tests.benchmarks.filling import analyse, fill
from tests.benchmarks.plans import claim, finds_the_same_by, reads
from tests.delivery.shop import Shop
from tests.delivery.steps import DONE, TAKEN

#: What orphans are found by; their attempts are opened in the same statement on PostgreSQL.
ORPHANS = {"ix_s2s_delivery_status"}
SETTLED, WAITING, HELD = 20_000, 200, 20_000
#: The lane of what is held.
API = "partnerstack/api"


@pytest.fixture(scope="module")
def busy_site(lasting_database_url: str) -> Iterator[Services]:
    """A site with a long past, whose database knows how its rows are distributed."""
    with closing(Shop(lasting_database_url)) as shop:
        fill(shop.services, SETTLED, prefix="settled", settled=True)
        fill(shop.services, WAITING, prefix="waiting")
        analyse(shop.services.storage.engine())
        yield shop.services


@pytest.fixture(scope="module")
def held_site(lasting_database_url: str) -> Iterator[Services]:
    """A site one of whose lanes has been closed for long: all that is held in it is due."""
    with closing(Shop(lasting_database_url)) as shop:
        shop.empty()
        if lasting_database_url.startswith("postgresql"):
            # Its own housekeeping would look at what it has in any moment, and at half of it.
            with shop.services.storage.engine().begin() as connection:
                off = "ALTER TABLE s2s_delivery SET (autovacuum_enabled = off)"
                connection.execute(text(off))
        fill(shop.services, SETTLED, prefix="settled", settled=True)
        fill(shop.services, SETTLED, prefix="done", settled=True, lane=API)
        fill(shop.services, HELD, prefix="held", lane=API)
        shop.clock.advance(minutes=1)
        fill(shop.services, WAITING, prefix="waiting")
        yield shop.services


def looked_up(site: Services, act: Callable[[Services], object]) -> set[str]:
    """Return the indexes that `act` reads by, beside the keys of what it takes and of its attempts."""
    read = reads(site, lambda: act(site))
    keys = {"PRIMARY", "s2s_delivery_pkey", "uq_s2s_attempt"}
    return set(read.removeprefix("reads by ").split(", ")) - keys


def reclaim(site: Services) -> object:
    """Take up what a worker held that died, one lease later."""
    later = site.clock.now() + site.settings.lease
    taken = site.supervisor.claims.reclaim(limit=5, now=later, lease=site.settings.lease)
    assert len(taken) == 5
    return taken


def leave_orphans(site: Services) -> None:
    assert site.supervisor.claims.claim(
        limit=5, now=site.clock.now(), lease=site.settings.lease / 2
    )


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(claim, id="claim"),
        pytest.param(lambda site: site.supervisor.claims.next_due(), id="when the next is due"),
    ],
)
def test_only_what_is_due_is_looked_at(
    busy_site: Services, act: Callable[[Services], object]
) -> None:
    assert looked_up(busy_site, act) == {"ix_s2s_delivery_due"}


def wake_children(site: Services) -> object:
    now = site.clock.now()
    taken = site.supervisor.claims.claim(limit=5, now=now, lease=site.settings.lease)
    return site.supervisor.settling.settle([(delivery, DONE, TAKEN) for delivery in taken], now)


def test_what_settles_looks_for_no_child_where_there_is_none(busy_site: Services) -> None:
    """Not among a million rows without a parent, after their database has counted them."""
    assert "SCANS" not in reads(busy_site, lambda: wake_children(busy_site))


def test_an_orphan_is_found_without_looking_at_what_is_settled(busy_site: Services) -> None:
    leave_orphans(busy_site)
    assert looked_up(busy_site, reclaim) == ORPHANS


def test_a_parent_is_found_without_looking_at_what_is_settled(busy_site: Services) -> None:
    due = busy_site.supervisor.claims.claim(
        limit=1, now=busy_site.clock.now(), lease=timedelta(minutes=1)
    )
    child = [replace(due[0], parent=due[0].dedupe)]
    found = looked_up(busy_site, lambda site: site.supervisor.claims.parents(child))
    assert found <= {"uq_s2s_delivery", "sqlite_autoindex_s2s_delivery_1"}
    assert busy_site.supervisor.claims.parents(child).keys() == {due[0].dedupe}


def test_siblings_are_found_without_looking_at_what_is_settled(busy_site: Services) -> None:
    """Those of an undone payment; and of a part of one."""
    due = busy_site.supervisor.claims.claim(
        limit=2, now=busy_site.clock.now(), lease=timedelta(minutes=1)
    )
    undone: list[Conversion] = [
        Reversal(customer_key="42", transaction_key="inv-1"),
        Transaction(customer_key="42", amount=-1, currency="USD", key="part-1", refunds="inv-1"),
    ]
    settled = [
        (replace(one, parent="a payment's", conversion=what), DONE, TAKEN)
        for one, what in zip(due, undone, strict=True)
    ]
    looks = reads(
        busy_site, lambda: busy_site.supervisor.settling.settle(settled, busy_site.clock.now())
    )
    assert "ix_s2s_delivery_parent" in looks
    assert "SCANS" not in looks


def test_a_claim_takes_what_is_due_among_very_many(busy_site: Services) -> None:
    now = busy_site.clock.now()
    taken = busy_site.supervisor.claims.claim(limit=5, now=now, lease=busy_site.settings.lease)
    assert len(taken) == 5
    assert {(one.customer_key or "")[:7] for one in taken} == {"waiting"}


def test_an_add_finds_the_one_that_is_there_by_the_unique_index(busy_site: Services) -> None:
    assert finds_the_same_by(busy_site) in ("uq_s2s_delivery", "sqlite_autoindex_s2s_delivery_1")


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda site: claim(site, closed=[API]), id="claim"),
        pytest.param(
            lambda site: site.supervisor.claims.next_due([API]), id="when the next is due"
        ),
    ],
)
def test_what_is_due_in_a_closed_lane_is_not_looked_at(
    held_site: Services, act: Callable[[Services], object]
) -> None:
    unknown = looked_up(held_site, act)
    analyse(held_site.storage.engine())
    assert unknown == looked_up(held_site, act) == {"ix_s2s_delivery_lane"}


def test_a_claim_takes_what_is_due_beside_a_closed_lane(held_site: Services) -> None:
    now = held_site.clock.now()
    lease = held_site.settings.lease
    taken = held_site.supervisor.claims.claim(limit=5, now=now, lease=lease, closed=[API])
    assert len(taken) == 5
    assert {(one.customer_key or "")[:7] for one in taken} == {"waiting"}
    assert held_site.supervisor.claims.next_due([API]) == now
    assert held_site.supervisor.claims.next_due() == now - timedelta(minutes=1)


def test_beside_a_closed_lane_the_oldest_goes_first(held_site: Services) -> None:
    now, lease = held_site.clock.now(), held_site.settings.lease
    taken = held_site.supervisor.claims.claim(limit=1, now=now, lease=lease, closed=["other/lane"])
    assert [one.lane for one in taken] == [API]
    early = now - timedelta(seconds=30)
    assert held_site.supervisor.claims.claim(limit=1, now=early, lease=lease, closed=[API]) == []


def test_an_orphan_is_found_without_looking_at_what_is_due(held_site: Services) -> None:
    for _ in range(2):
        leave_orphans(held_site)
        assert looked_up(held_site, reclaim) == ORPHANS
        analyse(held_site.storage.engine())
