"""`flask s2s prune` forgets what is done, and only that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from flask_s2s import Delivery
from flask_s2s.testing import answered
from tests.benchmarks.filling import analyse, fill
from tests.operations.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site.make(tmp_path)
    yield site
    site.close()


def test_a_settled_row_is_emptied_and_its_attempts_are_deleted(site: Site) -> None:
    site.sign_up("42")
    site.drain()
    site.clock.advance(days=401)

    result = site.run("prune", "--yes")

    assert result.exit_code == 0, result.output
    (row,) = site.rows()
    assert row["status"] == "delivered"
    emptied = ("customer_key", "conversion", "click", "click_id", "detail")
    assert [row[name] for name in emptied] == [None] * 5
    assert site.count("attempt") == 0


def test_a_pruned_customer_is_still_one_delivery(site: Site) -> None:
    first = site.sign_up("42")
    site.drain()
    site.clock.advance(days=401)
    site.run("prune", "--yes")

    assert site.sign_up("42").id == first.id
    assert site.drain() == 0


def test_what_has_work_left_is_never_touched(site: Site) -> None:
    site.transport.then(answered(503))
    site.sign_up("42")
    site.drain()
    before = site.rows()
    site.clock.advance(days=5000)

    result = site.run("prune", "--yes", "--dead-letters")

    assert "Emptied 0 deliveries" in result.output
    assert site.rows() == before


def test_a_customer_who_comes_while_an_old_row_is_emptied_is_not_lost(site: Site) -> None:
    site.sign_up("42", click=None)
    site.clock.advance(days=401)
    came: list[Delivery] = []

    def come(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(("DELETE FROM s2s_attempt", "UPDATE s2s_delivery")) and not came:
            came.append(site.sign_up("42"))

    with site.app.app_context():
        event.listen(site.s2s.services.storage.engine(), "before_cursor_execute", come)
    site.run("prune", "--yes")
    assert len(came) == 1
    site.drain()
    (row,) = site.rows()
    assert (row["status"], row["customer_key"]) == ("delivered", "42")


def test_dead_letters_stay_until_they_are_named(site: Site) -> None:
    site.transport.then(
        answered(400, '{"message": "\'xid\' is a required property", "status": 400}')
    )
    site.sign_up("42")
    site.drain()
    assert site.rows()[0]["status"] == "refused"
    site.clock.advance(days=401)

    site.run("prune", "--yes")
    assert site.rows()[0]["customer_key"] == "42"

    site.run("prune", "--yes", "--dead-letters")
    assert site.rows()[0]["customer_key"] is None


def test_recent_rows_stay(site: Site) -> None:
    site.sign_up("42")
    site.drain()
    site.clock.advance(days=100)

    site.run("prune", "--yes")

    assert site.rows()[0]["customer_key"] == "42"


def test_old_clicks_go_and_clicks_in_their_window_stay(site: Site) -> None:
    client = site.app.test_client()
    client.get("/?ps_xid=oldclick1")
    site.clock.advance(days=380)
    client.get("/?ps_xid=newclick1")
    site.clock.advance(days=21)

    site.run("prune", "--yes")

    assert [row["click_id"] for row in site.rows("click")] == ["newclick1"]


@pytest.mark.service
def test_the_last_batch_reads_no_more_than_the_first(tmp_path: Path, postgresql_url: str) -> None:
    """Neither to find what is old, which walks past what is emptied, nor to find its attempts."""
    site = Site.make(tmp_path, postgresql_url)
    services = site.app.extensions["s2s"]
    fill(services, 4000, prefix="old", settled=True)
    engine = services.storage.engine()
    analyse(engine)
    pages: list[int] = []
    rows: list[int] = []

    def explain(connection: Connection, _: object, sql: str, parameters: Any, *__: object) -> None:
        # What is found is locked, and looked at again, by its keys.
        finding = sql.startswith("SELECT s2s_delivery.id") and "ORDER BY" in sql
        if finding or sql.startswith("DELETE FROM s2s_attempt"):
            asking = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
            (answer,) = connection.exec_driver_sql(asking, parameters).scalar_one()
            if finding:
                pages.append(answer["Plan"]["Shared Hit Blocks"])
            else:
                rows.append(rows_read(answer["Plan"]))

    event.listen(engine, "before_cursor_execute", explain)
    site.clock.advance(days=401)
    assert "Emptied 4000 deliveries" in site.run("prune", "--yes").output
    site.close()
    for counts in (pages, rows):
        assert len(counts) >= 8
        assert max(counts[1:8]) < 2 * counts[0]


def rows_read(plan: dict[str, Any]) -> int:
    """Count what the parts of a plan returned, and what they read in vain."""
    mine = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return int(mine) + sum(rows_read(part) for part in plan.get("Plans", ()))


def test_it_asks_first(site: Site) -> None:
    site.sign_up("42")
    site.drain()
    site.clock.advance(days=401)

    result = site.run("prune", typed="n\n")

    assert result.exit_code == 1
    assert "Empty 1 deliveries" in result.output
    assert site.rows()[0]["customer_key"] == "42"


def test_a_click_may_not_be_pruned_in_its_window(site: Site) -> None:
    result = site.run("prune", "--yes", "--older-than", "30")

    assert result.exit_code == 2
    assert "90 days" in result.output
