"""An undelivered conversion is told of well before its deadline passes, and kept after it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_s2s.testing import answered
from tests.operations.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site.make(tmp_path)
    site.transport.then(answered(503))
    site.sign_up("42")
    yield site
    site.close()


def test_all_is_quiet_long_before_the_deadline(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.clock.advance(days=80)
    with caplog.at_level(logging.ERROR):
        site.drain()
    assert "expiring" not in caplog.text


def test_the_last_days_raise_the_alarm(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.clock.advance(days=86)
    with caplog.at_level(logging.ERROR):
        site.drain()
    assert "s2s.delivery.expiring: 1 undelivered" in caplog.text
    status = site.run("status")
    assert status.exit_code == 1
    assert "1 undelivered pass their deadline within 5 days" in status.output
    assert "`flask s2s list --status open`" in status.output


def test_past_the_deadline_it_is_kept_and_can_be_sent_again(site: Site) -> None:
    site.clock.advance(days=91)
    site.drain()
    assert site.rows()[0]["status"] == "expired"

    site.transport.then(answered(200))
    result = site.run("retry", "--status", "expired", "--yes")
    assert result.exit_code == 0, result.output
    site.drain()

    assert site.rows()[0]["status"] == "delivered"
