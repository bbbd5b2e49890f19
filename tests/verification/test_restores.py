"""A database that forgets what was sent: a restored backup, a failover, a file that is deleted."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from flask_s2s import Delivery, Services, Status
from flask_s2s.conversion import Action, Transaction
from flask_s2s.networks.messages import Request, Response
from tests.verification.site import Site
from tests.verification.test_command import run
from tests.verification.test_payments import with_customer

Restore = Callable[[], None]


def pay(site: Site, number: int) -> Delivery:
    key = f"invoice-{number}"
    return site.track(Transaction(customer_key="42", amount=1000, currency="USD", key=key))


def backup(services: Services) -> Restore:
    """Return what puts everything back as it is now."""
    engine, tables = services.storage.engine(), services.storage.metadata.sorted_tables
    with engine.connect() as connection:
        kept = {
            table: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in tables
        }

    def restore() -> None:
        with engine.begin() as connection:
            for table in reversed(tables):
                connection.execute(table.delete())
            for table in tables:
                if kept[table]:
                    connection.execute(table.insert(), kept[table])

    return restore


def at_the_network(site: Site) -> int:
    return len(site.ledger()["transactions"])


def methods(site: Site, path: str) -> list[str]:
    return [one.method for one in site.line.asked(path)]


def alarms(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [getattr(r, "action", "") for r in caplog.records if r.levelno >= logging.ERROR]


def five_sent_and_forgotten(site: Site) -> tuple[list[Delivery], Restore]:
    """Send five payments that a backup has as waiting, to a network that counts repeats."""
    with_customer(site).switch(repeated_reward="second")
    site.sign_up("earlier")
    site.services.drain()
    payments = [pay(site, number) for number in range(5)]
    restore = backup(site.services)
    site.services.drain()
    assert at_the_network(site) == 5
    return payments, restore


@pytest.mark.parametrize("hours", [1, 20])
def test_a_running_worker_notices_that_its_database_forgot(
    any_site: Site, caplog: pytest.LogCaptureFixture, hours: int
) -> None:
    payments, restore = five_sent_and_forgotten(any_site)
    restore()
    any_site.after(hours=hours)
    assert alarms(caplog) == ["database.forgot"]
    assert {any_site.status(one) for one in payments} == {Status.WAITING}
    any_site.after(minutes=16)
    assert {any_site.status(one) for one in payments} == {Status.CONFIRMED}
    assert at_the_network(any_site) == 5


def test_what_the_database_forgot_is_marked_though_that_failed_at_first(any_site: Site) -> None:
    def fail(*what: Any) -> None:
        if what[2].startswith("UPDATE") and "read_to" in what[2]:
            raise OperationalError("UPDATE", {}, Exception("Lock wait timeout exceeded"))

    payments, restore = five_sent_and_forgotten(any_site)
    restore()
    engine = any_site.services.storage.engine()
    event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(OperationalError):
        any_site.after(minutes=1)
    event.remove(engine, "before_cursor_execute", fail)
    any_site.after(minutes=1)
    assert {any_site.status(one) for one in payments} == {Status.WAITING}
    assert at_the_network(any_site) == 5


def test_a_worker_that_was_led_to_another_server_looks_before_it_claims(any_site: Site) -> None:
    payments, restore = five_sent_and_forgotten(any_site)
    restore()
    with any_site.services.storage.engine().connect() as connection:
        connection.invalidate()
    any_site.after(seconds=1)
    assert {any_site.status(one) for one in payments} == {Status.WAITING}
    assert at_the_network(any_site) == 5


def test_a_worker_that_sent_none_of_it_notices_what_another_sent(any_site: Site) -> None:
    """Its own last attempt is in the backup, or it has none: the other's are not."""
    second = any_site.another()
    second.drain()
    payments, restore = five_sent_and_forgotten(any_site)
    any_site.clock.advance(minutes=1)
    second.drain()
    restore()
    any_site.clock.advance(minutes=1)
    second.drain()
    assert {any_site.status(one) for one in payments} == {Status.WAITING}
    assert at_the_network(any_site) == 5


def test_what_the_network_did_not_get_is_sent_after_the_look(any_site: Site) -> None:
    payments, restore = five_sent_and_forgotten(any_site)
    restore()
    late = pay(any_site, 5)
    any_site.after(minutes=1)
    any_site.after(minutes=16)
    assert any_site.status(late) is Status.DELIVERED
    assert {any_site.status(one) for one in payments} == {Status.CONFIRMED}
    assert at_the_network(any_site) == 6


def test_what_somebody_held_at_the_backup_is_looked_for_too(any_site: Site) -> None:
    """Its lease ended long ago: that is not when it may have arrived last."""
    with_customer(any_site).switch(repeated_reward="second")
    pay(any_site, 0)
    now, lease = any_site.clock.now(), timedelta(seconds=60)
    (held,) = any_site.services.supervisor.claims.claim(limit=1, now=now, lease=lease)
    restore = backup(any_site.services)
    any_site.services.supervisor.settling.give_back([held], now)
    any_site.services.drain()
    restore()
    any_site.clock.advance(hours=20)
    assert run(any_site, "restored", "--since", "2026-01-01T00:15", "--yes").exit_code == 0
    row = any_site.row(held)
    assert (row.status, row.ambiguous_at) == (Status.PENDING, any_site.clock.now())
    any_site.services.drain()
    any_site.after(minutes=16)
    assert (any_site.status(held), at_the_network(any_site)) == (Status.CONFIRMED, 1)


def test_a_backup_that_is_restored_while_the_first_payment_goes_out_is_noticed(
    any_site: Site,
) -> None:
    with_customer(any_site).switch(repeated_reward="second")
    payments = [pay(any_site, number) for number in range(3)]
    restore = backup(any_site.services)
    wire, sent = any_site.line, list[Request]()

    def meanwhile(request: Request) -> Response | None:
        if request.method == "POST" and not sent:
            sent.append(request)
            answer = wire.send(request, seconds=5)
            restore()
            return answer
        return None

    wire.instead = meanwhile
    any_site.services = any_site.another()
    any_site.services.drain()
    any_site.after(minutes=16)
    any_site.after(minutes=16)
    assert {any_site.status(one) for one in payments} == {Status.CONFIRMED}
    assert at_the_network(any_site) == 3


def test_a_process_that_starts_on_a_backup_is_told_so(any_site: Site) -> None:
    payments, restore = five_sent_and_forgotten(any_site)
    restore()
    any_site.clock.advance(hours=20)
    any_site.services = any_site.another()
    told = run(any_site, "restored", "--since", "2026-01-01T00:15", "--json", "--yes")
    assert json.loads(told.output) == {"looked_for": 5, "repeated": 0, "sent_already": 0}
    any_site.services.drain()
    any_site.after(minutes=16)
    assert {any_site.status(one) for one in payments} == {Status.CONFIRMED}
    assert at_the_network(any_site) == 5


def test_a_process_that_starts_on_a_backup_and_is_not_told_looks_first(any_site: Site) -> None:
    payments, restore = five_sent_and_forgotten(any_site)
    restore()
    unsent = pay(any_site, 5)
    any_site.clock.advance(hours=20)
    any_site.services = any_site.another()
    any_site.line.requests.clear()
    any_site.services.drain()
    assert {any_site.status(one) for one in payments} == {Status.CONFIRMED}
    assert any_site.status(unsent) is Status.DELIVERED, "what never went out goes out"
    assert at_the_network(any_site) == 6
    assert methods(any_site, "/transactions") == ["GET", "POST"], "one look is for all of an hour"


def test_each_hour_has_a_look_of_its_own_and_so_has_each_kind(site: Site) -> None:
    with_customer(site)
    site.line.cut_api()
    for number in (0, 1):
        pay(site, number)
        site.track(Action(customer_key="42", type="trial", key=f"trial-{number}"))
        site.clock.advance(hours=2)
    site.line.mend()
    site.services = site.another()
    site.line.requests.clear()
    site.services.drain()
    for path in ("/transactions", "/actions"):
        assert Counter(methods(site, path)) == {"GET": 2, "POST": 2}


def test_a_look_that_fails_is_had_again_for_the_next(site: Site) -> None:
    payments, restore = five_sent_and_forgotten(site)
    restore()
    site.clock.advance(hours=20)
    site.services = site.another()
    failures = iter([Response(status=503)])
    site.line.instead = lambda request: (
        next(failures, None) if "/transactions?" in request.url else None
    )
    site.services.drain()
    statuses = Counter(site.status(one) for one in payments)
    assert statuses == {Status.DELIVERED: 1, Status.CONFIRMED: 4}


def test_a_process_that_cannot_look_sends_what_had_waited(site: Site) -> None:
    with_customer(site)
    payment = pay(site, 0)
    site.clock.advance(hours=20)
    site.services = site.another()
    site.line.instead = lambda request: (
        Response(status=503) if request.method == "GET" and "/transactions" in request.url else None
    )
    site.services.drain()
    assert site.status(payment) is Status.DELIVERED
    asked = [one for one in site.line.asked("/transactions") if one.method == "GET"]
    assert len(asked) == 1


def test_what_went_out_before_the_command_is_told(site: Site) -> None:
    _, restore = five_sent_and_forgotten(site)
    restore()
    site.services = site.another()
    site.after(hours=1)
    told = run(site, "restored", "--since", "2026-01-01T00:16", "--yes")
    assert "5 payments and actions were tried from here after that time already" in told.stderr


def test_a_database_that_forgot_nothing_is_not_suspected(
    any_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with_customer(any_site)
    for number in range(4):
        pay(any_site, number)
        any_site.services.storage.engine().dispose()
        any_site.after(minutes=20)
    any_site.after(days=60)
    assert alarms(caplog) == []


def test_who_is_forgotten_is_no_restore(any_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with_customer(any_site)
    assert run(any_site, "forget", "42", "--yes").exit_code == 0
    any_site.after(minutes=20)
    assert alarms(caplog) == []


def test_who_is_forgotten_while_a_payment_goes_out_is_no_restore(
    any_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with_customer(any_site)
    pay(any_site, 1)

    def meanwhile(request: Request) -> None:
        if request.method == "POST":
            any_site.line.mend()
            assert run(any_site, "forget", "42", "--yes").exit_code == 0

    any_site.line.instead = meanwhile
    any_site.services.drain()
    any_site.after(minutes=20)
    assert alarms(caplog) == []


def file_of(site: Site) -> str:
    return site.services.storage.engine().url.database or ""


def delete(path: str) -> None:
    for end in ("", "-wal", "-shm"):
        if os.path.exists(path + end):
            os.remove(path + end)


def test_a_file_that_is_deleted_under_the_site_is_told_and_recording_goes_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with_customer(site)
    path = file_of(site)
    delete(path)
    signup = site.sign_up("after")
    told = [r for r in caplog.records if getattr(r, "action", "") == "storage.replaced"]
    assert (len(told), told[0].levelno, path in told[0].getMessage()) == (1, logging.CRITICAL, True)
    assert os.path.exists(path)
    site.services.drain()
    assert site.status(signup) is Status.DELIVERED
    # Another process of the site has the same key for what makes a conversion itself.
    again = site.another().track_signup(customer_key="after", click=site.click())
    assert again
    assert again.id == signup.id


def test_a_backup_that_is_put_in_its_place_is_looked_into(site: Site) -> None:
    with_customer(site).switch(repeated_reward="second")
    payments = [pay(site, number) for number in range(5)]
    path = file_of(site)
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(path + ".bak")) as new:
        old.backup(new)
    site.services.drain()
    delete(path)
    os.rename(path + ".bak", path)
    site.after(seconds=5)
    assert {site.status(one) for one in payments} == {Status.WAITING}
    site.after(minutes=16)
    assert {site.status(one) for one in payments} == {Status.CONFIRMED}
    assert at_the_network(site) == 5
