"""Commands as real processes: pipes, signals, and death in the middle of a post."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from flask_s2s import Click, Services, Settings, Transaction
from flask_s2s.sandbox import create_sandbox
from flask_s2s.sandbox.server import SandboxServer, serve
from tests.cli.terminal import PATIENCE, Terminal, end
from tests.waiting import wait_until

Sign = Callable[[str], None]


@pytest.fixture
def network() -> Iterator[SandboxServer]:
    with serve(create_sandbox()) as server:
        yield server


@pytest.fixture
def terminal(tmp_path: Path, network: SandboxServer) -> Terminal:
    return Terminal(tmp_path, S2S_PARTNERSTACK_URL=network.url, S2S_LEASE="3", DEBUG="1")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """The same site's services in this process, to record with and to look."""
    settings = Settings.from_mapping({"SECRET_KEY": "for-tests-only-0123456789"})
    services = Services.build(settings, folder=tmp_path)
    services.supervisor.prepare()
    yield services
    services.storage.engine().dispose()


@pytest.fixture
def sign_up(services: Services) -> Sign:
    def sign_up(key: str) -> None:
        click = Click(click_id="click1", at=services.clock.now())
        assert services.track_signup(customer_key=key, click=click)

    return sign_up


@pytest.fixture
def start(terminal: Terminal) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start commands; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        started.append(terminal.start(*command))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)


def statuses(services: Services) -> dict[str, str]:
    return {d.customer_key or "": d.status.value for d in services.ledger.find(limit=1000)}


def ledger(network: SandboxServer) -> dict[str, Any]:
    record: dict[str, Any] = requests.get(f"{network.url}/sandbox/ledger", timeout=PATIENCE).json()
    return record


def posts(network: SandboxServer) -> int:
    totals = requests.get(f"{network.url}/sandbox/ledger?totals=1", timeout=PATIENCE).json()
    return int(totals["totals"]["conversion_posts"])


def set_faults(network: SandboxServer, **switches: object) -> None:
    answer = requests.put(f"{network.url}/sandbox/faults", json=switches, timeout=PATIENCE)
    answer.raise_for_status()


@pytest.mark.parametrize("command", ["retry --status pending", "forget 42"])
def test_a_question_that_nobody_can_answer_says_what_to_add(
    terminal: Terminal, sign_up: Sign, command: str
) -> None:
    sign_up("42")
    code, out, err = terminal.run(*command.split())
    assert (code, out.strip()) == (1, "")
    assert "Nobody to ask: add --yes" in err
    assert "Aborted" not in err


def test_output_in_a_pipe_has_no_colours_and_json_is_json(
    terminal: Terminal, sign_up: Sign
) -> None:
    sign_up("日本語")
    for command in ("status", "list", "show 1", "explain 日本語", "check"):
        code, out, err = terminal.run(*command.split())
        assert "\x1b" not in out + err
        assert out
        assert code == 0, err
        told, out, err = terminal.run(*command.split(), "--json")
        assert (told, err) == (code, "")
        json.loads(out)
        assert out.isascii()


def test_a_pipe_of_another_encoding_gets_what_it_can_hold(
    terminal: Terminal, sign_up: Sign
) -> None:
    sign_up("日本語")
    terminal.env["PYTHONIOENCODING"] = "ascii"
    code, out, err = terminal.run("list")
    assert (code, err) == (0, "")
    assert "???" in out


def test_a_reader_that_leaves_early_is_no_error(terminal: Terminal, sign_up: Sign) -> None:
    for key in range(300):
        sign_up(f"customer-{key}")
    process = terminal.start("list", "--limit", "10000")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait(PATIENCE)
    process.stderr.close()


def test_exit_codes_tell_cron_and_monitoring(terminal: Terminal, sign_up: Sign) -> None:
    assert terminal.run("status")[0] == 0
    assert terminal.run("list", "--nonsense")[0] == 2
    assert terminal.run("show", "99")[0] == 1
    terminal.env["FLASK_DEBUG"] = "0"
    terminal.env["FLASK_S2S_DRY_RUN"] = "false"
    del terminal.env["FLASK_DEBUG"]
    code, out, _ = terminal.run("check")
    assert code == 1
    assert "credits nobody" in out


def test_a_setting_that_is_wrong_ends_every_command_with_its_remedy(terminal: Terminal) -> None:
    terminal.env["FLASK_S2S_TOKEN"] = "1e5"
    for command in ("status", "check", "list"):
        code, out, err = terminal.run(command)
        assert (code, out) == (1, "")
        assert "quote it as JSON" in err
        assert err.startswith("Error: S2S_TOKEN")
        assert len(err.splitlines()) == 1


def test_work_once_leaves_when_nothing_is_due(
    terminal: Terminal, network: SandboxServer, services: Services, sign_up: Sign
) -> None:
    for key in "abc":
        sign_up(key)
    code, _, err = terminal.run("work", "--once")
    assert code == 0
    assert err.count("s2s.delivery.delivered") == 3
    assert set(statuses(services).values()) == {"delivered"}
    assert terminal.run("work", "--once")[0] == 0
    assert posts(network) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_work_delivers_until_it_is_told_to_stop(
    start: Callable[..., subprocess.Popen[str]],
    services: Services,
    sign_up: Sign,
    number: signal.Signals,
) -> None:
    process = start("work")
    for sent in ({"a"}, {"a", "b"}):
        sign_up(max(sent))
        wait_until(partial(_delivered, services, sent), PATIENCE)
    code, err = end(process, number)
    assert code == 0
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_work_finishes_what_is_in_flight_before_it_stops(
    start: Callable[..., subprocess.Popen[str]],
    network: SandboxServer,
    services: Services,
    sign_up: Sign,
    number: signal.Signals,
) -> None:
    # Dripped: long enough for the signal to come first, short enough to arrive whole.
    set_faults(network, slow_bytes=1, slow_seconds=0.3)
    process = start("work")
    sign_up("in flight")
    wait_until(lambda: posts(network) == 1, PATIENCE)
    code, err = end(process, number)
    assert code == 0, err
    row = services.ledger.find()[0]
    found = services.ledger.get(row.id)
    assert found is not None
    assert row.status.value in ("delivered", "pending")
    assert [one.outcome is not None for one in found[1]] == [True]


def test_a_worker_killed_in_the_middle_of_a_post_is_replaced_and_the_customer_counted_once(
    start: Callable[..., subprocess.Popen[str]],
    terminal: Terminal,
    network: SandboxServer,
    services: Services,
    sign_up: Sign,
) -> None:
    landing = requests.get(f"{network.url}/go/ada", allow_redirects=False, timeout=PATIENCE)
    click_id = landing.headers["Location"].partition("ps_xid=")[2].partition("&")[0]
    terminal.env["FLASK_S2S_LEASE"] = "30"
    set_faults(network, timeout_after_write=1, hold_seconds=60)
    first = start("work")
    click = Click(click_id=click_id, at=services.clock.now())
    services.track_signup(customer_key="42", click=click)
    wait_until(lambda: len(ledger(network)["customers"]) == 1, PATIENCE)
    first.kill()
    first.wait(PATIENCE)
    assert statuses(services) == {"42": "sending"}

    set_faults(network)
    # The first one's lease ends sooner than its thirty seconds would let this test wait.
    (stuck,) = services.ledger.find()
    _end_lease(services)
    terminal.env["FLASK_S2S_LEASE"] = "3"
    second = start("work")
    wait_until(lambda: statuses(services) == {"42": "delivered"}, PATIENCE)
    assert end(second, signal.SIGTERM)[0] == 0
    record = ledger(network)
    assert [customer["partner"] for customer in record["customers"]] == ["ada"]
    assert record["conversion_posts"] == {"42": 2}
    found = services.ledger.get(stuck.id)
    assert found is not None
    assert [one.outcome for one in found[1]] == ["ambiguous", "accepted"]


def test_the_lease_of_a_killed_worker_runs_out_by_itself(
    start: Callable[..., subprocess.Popen[str]],
    terminal: Terminal,
    network: SandboxServer,
    services: Services,
    sign_up: Sign,
) -> None:
    set_faults(network, timeout_after_write=1, hold_seconds=60)
    first = start("work")
    sign_up("42")
    wait_until(lambda: posts(network) == 1, PATIENCE)
    first.kill()
    first.wait(PATIENCE)
    set_faults(network)
    start("work")
    wait_until(lambda: statuses(services) == {"42": "delivered"}, PATIENCE)
    assert posts(network) >= 2
    assert len(ledger(network)["accepted_posts"]) == 1


def test_the_sandbox_serves_until_it_is_told_to_stop(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start("sandbox", "--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    url = line.split()[-1]
    assert url.startswith("http://127.0.0.1:")
    assert requests.get(url, timeout=PATIENCE).ok
    code, err = end(process, signal.SIGTERM)
    assert (code, err) == (0, "")


def _delivered(services: Services, keys: set[str]) -> bool:
    return statuses(services) == dict.fromkeys(keys, "delivered")


def _end_lease(services: Services) -> None:
    rows = services.storage.tables.delivery
    with services.storage.engine().begin() as connection:
        connection.execute(rows.update().values(due_at=services.clock.now()))


def test_work_waits_for_a_database_that_is_not_up_yet(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], terminal: Terminal
) -> None:
    # A folder where the file is to be: nothing can open it.
    (tmp_path / "later").mkdir()
    terminal.env["FLASK_S2S_DATABASE_URI"] = f"sqlite:///{tmp_path}/later"
    working = start("work")
    assert working.stderr is not None
    assert "s2s.work.waits: the database is not up" in working.stderr.readline()
    (tmp_path / "later").rmdir()
    while "Working." not in (line := working.stderr.readline()):
        assert line, "it ended"
    code, err = end(working, signal.SIGTERM)
    assert (code, err) == (0, "")


def test_work_that_waits_for_its_database_ends_when_it_is_told_to(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], terminal: Terminal
) -> None:
    (tmp_path / "never").mkdir()
    terminal.env["FLASK_S2S_DATABASE_URI"] = f"sqlite:///{tmp_path}/never"
    working = start("work")
    assert working.stderr is not None
    assert "s2s.work.waits" in working.stderr.readline()
    assert end(working, signal.SIGTERM)[0] == 0
    code, _, err = terminal.run("work", "--once")
    assert code == 1
    assert "The database did not answer" in err


def test_a_list_fits_a_screen_of_80_columns(terminal: Terminal, services: Services) -> None:
    key = "a-customer-with-a-rather-long-key-00000001"
    click = Click(
        click_id="click1", at=services.clock.now(), partner_key="a-partner-of-some-length"
    )
    click = replace(click, sub_ids=("a-campaign-of-some-length",))
    services.track_signup(customer_key=key, click=click)
    payment = Transaction(customer_key=key, amount=123_456, currency="USD", key="INVOICE-2026-0001")
    services.track(payment)
    lines = terminal.show("list").splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert "1,234.56" in lines[1]
    assert terminal.run("list")[1].count(key) == 2
    # A report is a table still, with names cut: no block for each of hundreds.
    numbers = ["clicks", "sign-ups", "confirmed", "paying", "paid", "refunded", "net USD"]
    partner = click.partner_key or ""
    reports = [
        ("partner", ()),
        ("sub ID", ("--by", "sub-id", "--partner", partner)),
        ("partner", ("--by", "sub-id")),
    ]
    for name, more in reports:
        said = terminal.show("report", *more).splitlines()
        (head,) = (one for one in said if re.search(r"clicks .* net USD", one))
        assert re.split(r"  +", head.strip()) == [name, *numbers]
        assert max(map(len, said)) <= 80
    assert [line[:10] for line in said[-3:]] == ["a-partner-", "  a-campai", "all       "]
    # Of sums too great for that two columns are left out, which is said.
    great = Transaction(customer_key=key, amount=10**12, currency="USD", key="INVOICE-2026-0002")
    services.track(great)
    for name, more in (*reports, ("day", ("--by", "day"))):
        said = terminal.show("report", *more).splitlines()
        (head,) = (one for one in said if re.search(r"clicks .* net USD", one))
        shown = [one for one in numbers if one not in ("paid", "refunded")]
        shown = [one for one in shown if (name, one) != ("day", "paying")]
        assert re.split(r"  +", head.strip()) == [name, *shown]
        assert said[-1] == "Too wide for this terminal, but not for --csv: paid, refunded."
        assert max(map(len, said)) <= 80
