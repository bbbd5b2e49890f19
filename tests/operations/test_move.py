"""`flask s2s move-to` carries a site to another database without losing or doubling a row."""

from __future__ import annotations

from typing import Any

import pytest

from flask_s2s.testing import answered
from tests.operations.carrying import moving
from tests.operations.site import Site

_CARRIED = ("dedupe", "status", "customer_key", "click_id", "attempts", "created_at", "due_at")


def fill(site: Site) -> None:
    """One of each: delivered, waiting for its next try, unattributed; and a click."""
    site.app.test_client().get("/?ps_xid=clickid1&sid=letter")
    site.sign_up("delivered")
    site.drain()
    site.transport.then(answered(503))
    site.sign_up("pending")
    site.drain()
    site.transport.then(answered(200))
    site.sign_up("unattributed", click=None)


def carried(site: Site) -> list[dict[str, Any]]:
    rows = [{name: row[name] for name in _CARRIED} for row in site.rows()]
    return sorted(rows, key=lambda row: str(row["dedupe"]))


def test_everything_arrives_as_it_was(old: Site, new: Site, database_url: str) -> None:
    fill(old)
    before = carried(old)

    result = old.run("move-to", database_url, "--yes")

    assert result.exit_code == 0, result.output
    assert carried(new) == before
    assert new.count("attempt") == 2
    assert [row["click_id"] for row in new.rows("click")] == ["clickid1"]


def test_each_open_delivery_is_sent_from_one_database_only(
    old: Site, new: Site, database_url: str
) -> None:
    fill(old)
    old.run("move-to", database_url, "--yes")
    for site in (old, new):
        site.clock.advance(days=1)
        site.drain()

    assert len(old.transport.requests) == 2, "both were made before the move"
    assert [one.body and one.body["customer_key"] for one in new.transport.requests] == ["pending"]


def test_a_customer_is_known_in_the_new_database(old: Site, new: Site, database_url: str) -> None:
    fill(old)
    old.run("move-to", database_url, "--yes")

    new.sign_up("delivered")

    assert new.count("delivery") == 3


@pytest.mark.parametrize("steps", range(5))
def test_an_interrupted_move_is_finished_by_the_next(
    old: Site, new: Site, database_url: str, steps: int
) -> None:
    fill(old)
    before = carried(old)
    with moving(old, database_url) as batches:
        for _ in range(steps):
            next(batches, None)
    old.clock.advance(minutes=1)
    assert old.drain() == 0 or steps == 0, "what is frozen is not sent from the old database"

    assert old.run("move-to", database_url, "--yes").exit_code == 0

    if steps:
        assert carried(new) == before
    assert len(carried(new)) == 3


def test_deliveries_in_flight_stop_it(old: Site, new: Site, database_url: str) -> None:
    old.sign_up("42")
    with old.app.app_context():
        services = old.s2s.services
        services.outbox.claim(limit=1, now=old.clock.now(), lease=services.settings.lease)

    result = old.run("move-to", database_url, "--yes")

    assert result.exit_code == 1
    assert "in flight" in result.output
    assert new.count("delivery") == 0


def test_a_database_of_another_installation_is_refused(
    old: Site, new: Site, database_url: str
) -> None:
    new.sign_up("theirs")
    old.sign_up("ours")

    result = old.run("move-to", database_url, "--yes")

    assert result.exit_code == 1
    assert "another installation" in result.output


def test_a_long_outbox_goes_over_whole(old: Site, new: Site, database_url: str) -> None:
    for number in range(450):
        old.sign_up(f"customer-{number}")

    old.run("move-to", database_url, "--yes")

    assert new.count("delivery") == 450
    assert new.drain() == 450
    assert old.drain() == 0


def test_what_was_moved_is_not_sent_again_from_the_old_database(
    old: Site, new: Site, database_url: str
) -> None:
    old.sign_up("42")
    assert old.run("move-to", database_url, "--yes").exit_code == 0

    for chosen in (
        ("--since", "2026-01-01"),
        ("--network", "partnerstack"),
        ("--status", "withdrawn"),
    ):
        assert old.run("retry", *chosen, "--yes").exit_code == 1
    assert old.drain() == 0
    told = old.run("explain", "42").output
    assert "it went to another database, which sends it" in told
    assert "retry" not in told
