"""A row is open in one database only, whatever the site writes while it is moved."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event

from flask_s2s.testing import answered
from tests.operations.carrying import moving, open_in, sent_by
from tests.operations.site import Site


def test_what_is_written_meanwhile_goes_with_the_next_move(
    old: Site, new: Site, database_url: str
) -> None:
    old.app.test_client().get("/?ps_xid=clickid1")
    old.sign_up("early")
    with moving(old, database_url) as batches:
        next(batches)
        old.sign_up("late")
        assert sum(batches) == 1

    assert (open_in(old), open_in(new)) == (["late"], ["early"])

    assert old.run("move-to", database_url, "--yes").exit_code == 0

    assert (open_in(old), open_in(new)) == ([], ["early", "late"])


def test_what_was_written_meanwhile_is_counted(old: Site, new: Site, database_url: str) -> None:
    old.sign_up("early")
    arrived: list[str] = []

    def sign_up_once(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO s2s_delivery") and not arrived:
            arrived.append(statement)
            old.sign_up("late")

    event.listen(Engine, "before_cursor_execute", sign_up_once)
    try:
        result = old.run("move-to", database_url, "--yes")
    finally:
        event.remove(Engine, "before_cursor_execute", sign_up_once)

    assert result.exit_code == 0, result.output
    assert "1 delivery was written meanwhile" in result.output
    assert "meanwhile" not in old.run("move-to", database_url, "--yes").output
    assert open_in(new) == ["early", "late"]


def test_a_lane_that_opens_meanwhile_sends_nothing_that_moves(
    old: Site, new: Site, database_url: str
) -> None:
    old.app.test_client().get("/?ps_xid=clickid1")
    old.transport.then(answered(401))
    old.sign_up("held")
    old.drain()
    with moving(old, database_url) as batches:
        next(batches)
        old.transport.then(answered(200))
        old.sign_up("late")
        old.clock.advance(minutes=1)
        old.drain()
        sum(batches)
    new.clock.advance(minutes=1)
    new.drain()

    assert sent_by(old) == ["held", "late"]
    assert sent_by(new) == ["held"]


def test_a_worker_that_comes_back_late_changes_nothing_that_moves(
    old: Site, new: Site, database_url: str
) -> None:
    old.app.test_client().get("/?ps_xid=clickid1")
    old.sign_up("42")
    outbox = old.app.extensions["s2s"].outbox
    with old.app.app_context():
        (claimed,) = outbox.claim(
            limit=1, now=old.clock.now(), lease=old.s2s.services.settings.lease
        )
    old.clock.advance(minutes=2)
    with moving(old, database_url) as batches:
        next(batches)
        outbox.give_back([claimed], old.clock.now())
        sum(batches)

    assert old.drain() == 0
    assert (open_in(old), open_in(new)) == ([], ["42"])


def test_a_purchase_whose_sign_up_has_moved_follows_it(
    old: Site, new: Site, database_url: str
) -> None:
    old.sign_up("42")
    old.run("move-to", database_url, "--yes")
    with old.app.app_context():
        old.s2s.track_transaction(customer_key="42", amount=4900, currency="USD", key="invoice-1")
    old.drain()
    new.drain()

    old.run("move-to", database_url, "--yes")
    new.drain()

    kinds = {row["kind"]: row["status"] for row in new.rows()}
    assert kinds == {"signup": "delivered", "transaction": "held"}, "it was tried: without API keys"


def test_what_is_recorded_again_after_it_moved_is_still_one_delivery(
    old: Site, new: Site, database_url: str
) -> None:
    old.sign_up("42")
    old.run("move-to", database_url, "--yes")
    old.sign_up("42")

    assert old.run("move-to", database_url, "--yes").exit_code == 0

    assert (open_in(old), open_in(new)) == ([], ["42"])
    assert (old.drain(), new.drain()) == (0, 1)
