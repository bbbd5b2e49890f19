"""A delivered sign-up, until the network's own record proves it or a person must ask."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest
from sqlalchemy import text

from flask_s2s import Services, Status
from flask_s2s.networks.messages import Request, Response
from flask_s2s.rules.verification import Confirmed, Missing, SendAgain
from flask_s2s.signals import delivery_settled
from flask_s2s.store.outbox.verification_queue import VerificationQueue
from flask_s2s.testing import answered
from tests.verification.conftest import Opening
from tests.verification.site import Site

LEASE = timedelta(minutes=10)


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(r, "action", "") for r in caplog.records if r.levelno >= logging.ERROR]


def test_a_delivered_sign_up_is_confirmed_after_a_quarter_of_an_hour(any_site: Site) -> None:
    signup = any_site.sign_up()
    any_site.services.drain()
    assert any_site.status(signup) is Status.DELIVERED
    any_site.after(minutes=14)
    assert any_site.line.asked("/customers/42") == []
    any_site.after(minutes=1)
    row = any_site.row(signup)
    assert (row.status, row.verify_at, row.settled_at is None) == (Status.CONFIRMED, None, False)
    assert len(any_site.line.asked("/customers/42")) == 1
    any_site.after(days=3)
    assert len(any_site.line.requests) == 2


def test_without_keys_nothing_is_verified_and_a_known_customer_stays_known(
    open_site: Opening,
) -> None:
    site = open_site(keys=False)
    site.switch(repeated_customer="conflict", reset_after_write=1.0)
    signup = site.sign_up()
    site.services.drain()
    site.switch(repeated_customer="conflict")
    site.after(hours=1)
    assert site.status(signup) is Status.DELIVERED
    assert site.detail(signup).startswith("already known")
    site.after(days=1)
    assert {urls.method for urls in site.line.requests} == {"POST"}


def test_a_known_customer_is_read_back(site: Site) -> None:
    site.switch(repeated_customer="conflict", reset_after_write=1.0)
    signup = site.sign_up()
    site.services.drain()
    site.switch(repeated_customer="conflict")
    site.after(hours=1)
    assert site.detail(signup).startswith("already known")
    site.after(minutes=15)
    assert site.status(signup) is Status.CONFIRMED


def test_what_is_absent_twice_is_sent_again_and_confirmed(any_site: Site) -> None:
    """The network said 200 and created nothing, as it does for a click it does not know (yet)."""
    click = any_site.click()
    any_site.switch()
    any_site.line.instead = lambda request: Response(status=200) if _posts(request) else None
    signup = any_site.sign_up(click=click)
    any_site.services.drain()
    any_site.after(minutes=15)
    row = any_site.row(signup)
    assert (row.status, row.checks, row.resent) == (Status.DELIVERED, 1, 0)
    any_site.line.mend()
    any_site.after(minutes=29)
    assert any_site.row(signup).resent == 0
    any_site.after(minutes=1)
    row = any_site.row(signup)
    assert (row.status, row.checks, row.resent) == (Status.DELIVERED, 0, 1)
    assert "sent again once" in (row.detail or "")
    assert [one.number for one in any_site.attempts(signup)] == [1, 2]
    any_site.after(minutes=15)
    assert any_site.status(signup) is Status.CONFIRMED
    assert any_site.ledger()["totals"]["customers"] == 1


def test_what_never_appears_is_sent_three_times_then_missing_with_an_alarm(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Status] = []

    def listen(sender: object, status: Status, **_: object) -> None:
        told.append(status)

    site.line.instead = lambda request: Response(status=200) if _posts(request) else None
    signup = site.sign_up()
    with delivery_settled.connected_to(listen):
        for _ in range(40):
            site.after(minutes=15)
    row = site.row(signup)
    assert (row.status, row.resent, row.verify_at) == (Status.MISSING, 2, None)
    assert len(site.attempts(signup)) == 3
    assert alarms(caplog) == ["verification.missing"]
    assert told[-1] is Status.MISSING
    sent = len(site.line.requests)
    site.after(days=2)
    assert len(site.line.requests) == sent


def test_an_index_that_lags_costs_no_second_sending(site: Site) -> None:
    site.switch(readable_after_seconds=600)
    signup = site.sign_up()
    for _ in range(12):
        site.after(minutes=5)
    assert site.status(signup) is Status.CONFIRMED
    assert len(site.line.asked("/conversion/xid")) == 1


def test_an_index_that_lags_behind_the_first_look_costs_none_either(site: Site) -> None:
    signup = site.sign_up()
    site.services.drain()
    site.line.instead = lambda request: None if _posts(request) else _not_found()
    site.after(minutes=15)
    site.line.mend()
    site.after(minutes=30)
    assert (site.status(signup), len(site.attempts(signup))) == (Status.CONFIRMED, 1)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500, 503])
def test_an_answer_that_does_not_tell_is_never_absence(site: Site, status: int) -> None:
    signup = site.sign_up()
    site.services.drain()
    site.line.instead = lambda request: None if _posts(request) else answered(status, "<p>sorry")
    for _ in range(200):
        site.after(hours=1)
    row = site.row(signup)
    assert (row.status, row.resent, row.checks) == (Status.DELIVERED, 0, 0)
    assert row.verify_at is not None
    assert "not confirmed" in (row.detail or "")
    # 15 min, 45 min, 2 h 15, 6 h 45, ... then daily: growing intervals, not one a quarter of an hour.
    assert len(site.line.asked("/customers/42")) < 20
    site.line.mend()
    site.after(days=1)
    assert site.status(signup) is Status.CONFIRMED


def test_what_cannot_be_read_until_the_deadline_stays_delivered_and_says_so(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    signup = site.sign_up()
    site.services.drain()
    site.line.cut_api()
    for _ in range(100):
        site.after(days=1)
    row = site.row(signup)
    assert (row.status, row.verify_at) == (Status.DELIVERED, None)
    assert "never confirmed" in (row.detail or "")
    assert "verification.unproven" in alarms(caplog)


@pytest.mark.parametrize(
    ("mode", "alarmed"), [({}, True), ({"DEBUG": True}, False), ({"TESTING": True}, False)]
)
def test_a_test_record_is_an_alarm_in_production(
    open_site: Opening, caplog: pytest.LogCaptureFixture, mode: dict[str, bool], alarmed: bool
) -> None:
    site = open_site(
        S2S_TOKEN="sandbox-test-token",
        S2S_PARTNERSTACK_PUBLIC_KEY="pk_sandbox_test",
        S2S_PARTNERSTACK_SECRET_KEY="sk_sandbox_test",
        **mode,
    )
    signup = site.sign_up()
    site.services.drain()
    site.after(minutes=15)
    assert site.status(signup) is Status.CONFIRMED
    assert ("TEST" in site.detail(signup)) is alarmed
    assert ("verification.test_record" in alarms(caplog)) is alarmed
    assert (site.services.supervisor.verification_queue.test_seen() is not None) is alarmed


def test_many_verifiers_ask_for_each_customer_once(any_site: Site) -> None:
    signups = [any_site.sign_up(key) for key in range(20)]
    any_site.services.drain()
    any_site.clock.advance(minutes=15)
    fleet = [any_site.another() for _ in range(3)]
    claims = [
        one.supervisor.verification_queue.claim(limit=8, now=any_site.clock.now(), lease=LEASE)
        for one in fleet
    ]
    taken = [delivery.id for claim in claims for delivery in claim]
    assert len(taken) == len(set(taken)) == len(signups)


def test_a_verifier_that_died_loses_its_lease_and_one_that_is_late_changes_nothing(
    any_site: Site,
) -> None:
    signup = any_site.sign_up()
    any_site.services.drain()
    now = any_site.clock.advance(minutes=15)
    late: Services = any_site.another()
    (held,) = late.supervisor.verification_queue.claim(limit=8, now=now, lease=LEASE)
    any_site.after(minutes=9)
    assert any_site.status(signup) is Status.DELIVERED
    any_site.after(minutes=2)
    assert any_site.status(signup) is Status.CONFIRMED
    assert late.supervisor.verification_queue.settle([(held, SendAgain(detail="x"))], now) == [
        False
    ]
    assert any_site.status(signup) is Status.CONFIRMED


def test_a_lease_that_passed_to_another_is_not_settled_by_the_first(any_site: Site) -> None:
    signup = any_site.sign_up()
    any_site.services.drain()
    first, second = (
        any_site.another().supervisor.verification_queue,
        any_site.another().supervisor.verification_queue,
    )
    now = any_site.clock.advance(minutes=15)
    (early,) = first.claim(limit=8, now=now, lease=LEASE)
    now = any_site.clock.advance(minutes=11)
    (held,) = second.claim(limit=8, now=now, lease=LEASE)
    assert first.settle([(early, SendAgain(detail="x"))], now) == [False]
    assert any_site.row(signup).verify_at == held.verify_at
    assert second.settle([(held, Confirmed(detail="x"))], now) == [True]


def test_verifiers_that_claim_in_the_same_moment_share_the_rows(any_site: Site) -> None:
    for key in range(30):
        any_site.sign_up(key)
    any_site.services.drain()
    now = any_site.clock.advance(minutes=15)
    fleet = [any_site.another().supervisor.verification_queue for _ in range(4)]
    start = threading.Barrier(len(fleet))
    taken: list[int] = []

    def claim(verification_queue: VerificationQueue) -> None:
        start.wait()
        taken.extend(one.id for one in verification_queue.claim(limit=30, now=now, lease=LEASE))

    threads = [threading.Thread(target=claim, args=(one,)) for one in fleet]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken))
    left = any_site.services.supervisor.verification_queue.claim(limit=30, now=now, lease=LEASE)
    assert len(taken) + len(left) == 30


def test_a_sign_up_that_was_sent_again_meanwhile_is_not_judged_by_the_old_look(
    any_site: Site,
) -> None:
    signup = any_site.sign_up()
    any_site.services.drain()
    now = any_site.clock.advance(minutes=15)
    (held,) = any_site.services.supervisor.verification_queue.claim(limit=8, now=now, lease=LEASE)
    rows = any_site.services.storage.tables.delivery
    with any_site.services.storage.engine().begin() as connection:
        again = rows.update().where(rows.c.id == signup.id)
        connection.execute(again.values(status="pending", due_at=now, settled_at=None))
    any_site.services.drain()
    assert any_site.services.supervisor.verification_queue.settle(
        [(held, Missing(detail="x"))], now
    ) == [False]
    assert any_site.status(signup) is Status.DELIVERED


def test_looking_for_due_rows_is_a_search_in_an_index(any_site: Site) -> None:
    engine = any_site.services.storage.engine()
    explain = {"sqlite": "EXPLAIN QUERY PLAN SELECT id"}.get(
        engine.dialect.name, "EXPLAIN SELECT id"
    )
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        due = text(explain + " FROM s2s_delivery WHERE verify_at <= 5 ORDER BY verify_at")
        plan = connection.execute(due).all()
    assert "ix_s2s_delivery_verify" in str(plan)


def _posts(request: Request) -> bool:
    return request.method == "POST"


def _not_found() -> Response:
    return answered(404, '{"message": "Customer not found", "status": 404}')
