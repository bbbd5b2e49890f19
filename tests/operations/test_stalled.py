"""Nothing draining is told by the process that writes, not by the one that is not there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flask_s2s.runtime.embedded import StallAlarm
from tests.benchmarks.plans import caught, reads
from tests.operations.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site.make(tmp_path, S2S_WORKER="external")
    site.sign_up("42")
    yield site
    site.close()


def stall_alarm(site: Site) -> StallAlarm:
    services = site.app.extensions["s2s"]
    return StallAlarm(site.clock, services.supervisor.heartbeat.pulse)


def test_overdue_work_without_a_worker_is_loud(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.clock.advance(minutes=3)
    stall_alarm(site).look()
    assert "s2s.outbox.stalled" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


def test_work_that_is_not_overdue_is_not(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.clock.advance(minutes=1)
    stall_alarm(site).look()
    assert not caplog.records


def test_a_worker_that_lives_is_trusted(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.clock.advance(minutes=3)
    services = site.app.extensions["s2s"]
    services.supervisor.heartbeat.seen(site.clock.now() - timedelta(minutes=1))
    stall_alarm(site).look()
    assert not caplog.records


def test_looking_asks_for_the_two_numbers_that_it_needs_and_reads_no_table(site: Site) -> None:
    services = site.app.extensions["s2s"]
    with caught(services.storage.engine()) as statements:
        stall_alarm(site).look()
    assert len(statements) == 2
    assert reads(services, services.supervisor.heartbeat.pulse) == "reads by ix_s2s_delivery_due"


def test_status_and_check_say_it_too(site: Site) -> None:
    site.clock.advance(minutes=3)
    assert "Does a worker run" in site.run("status").output
    assert "nothing drains" in site.run("check").output
