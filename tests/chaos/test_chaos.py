"""A small chaos run on each database; the large ones are run by hand, and reported in docs/delivery.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def chaos(*arguments: object) -> dict[str, Any]:
    """Run the program; return its figures."""
    command = [sys.executable, "-m", "tests.chaos", "--json", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, check=False)
    assert done.stdout, done.stderr.decode()
    figures: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) is figures["good"]
    return figures


def assert_promise_held(figures: dict[str, Any], *, kills: int) -> None:
    wrong = {name: figures[name] for name in ("lost", "twice", "invented", "misattributed")}
    assert not any(wrong.values()), wrong
    # Each committed one, and nothing left over: confirmed by the network's own record.
    committed, deliveries = figures["committed"], figures["deliveries"]
    assert figures["on_record"]["customers"] == committed["signups"] > 0
    assert deliveries["signup"] == {"confirmed": committed["signups"]}
    assert deliveries["transaction"] == {"confirmed": committed["transactions"]}
    assert deliveries["action"] == {"confirmed": committed["actions"]}
    assert set(committed["by_door"]) == {"call", "decorated", "signal"}
    # It was chaos: kills while a post was under way, and faults.
    assert figures["kills"] == kills
    assert figures["kills_between_first_byte_and_settle"] >= kills / 10
    assert figures["orphans"]["signups"] + figures["orphans"]["others"] > 0
    assert figures["posts"] > figures["accepted_posts"]
    assert figures["good"]


def test_on_sqlite() -> None:
    assert_promise_held(chaos("--conversions", 300, "--kills", 8), kills=8)


def test_while_one_process_at_a_time_has_a_clock_that_is_ahead() -> None:
    figures = chaos("--conversions", 120, "--kills", 6, "--clocks")
    assert figures["clocks_ahead"] == 3
    assert_promise_held(figures, kills=6)


@pytest.mark.service
def test_on_postgresql(postgresql_url: str) -> None:
    database = ("--database", postgresql_url)
    assert_promise_held(chaos("--conversions", 200, "--kills", 6, *database), kills=6)


@pytest.mark.service
def test_behind_a_pooler(postgresql_url: str) -> None:
    database = ("--database", postgresql_url, "--pooler")
    assert_promise_held(chaos("--conversions", 60, "--kills", 3, *database), kills=3)


@pytest.mark.service
@pytest.mark.parametrize("how", ["demote", "kill"])
def test_when_the_database_fails_over(how: str) -> None:
    figures = chaos("--conversions", 60, "--kills", 3, "--failover", how)
    assert figures["failover"] == how
    assert_promise_held(figures, kills=3)


@pytest.mark.service
def test_on_mariadb(mariadb_url: str) -> None:
    database = ("--database", mariadb_url)
    assert_promise_held(chaos("--conversions", 200, "--kills", 6, *database), kills=6)
