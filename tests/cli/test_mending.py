"""`retry`, `discard` and `ack` of what is named by kind, error, partner, time or customer; `credit --from`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_s2s import Click
from flask_s2s.conversion import Transaction
from flask_s2s.testing import accepted, answered
from tests.cli.conftest import Site

SCHEMA = '{"message": "\'xid\' is a required property", "status": 400}'


def sign_up(site: Site, key: str, partner: str) -> None:
    click = Click(click_id=f"click-{key}", at=site.clock.now(), partner_key=partner)
    site.services.supervisor.prepare()
    assert site.services.track_signup(customer_key=key, click=click)


def statuses(site: Site) -> dict[str, str]:
    found = site.services.ledger.find()
    return {f"{one.customer_key} {one.kind}": one.status.value for one in found}


@pytest.fixture
def refused(site: Site) -> Site:
    """Four sign-ups, an hour apart, all refused: by ada a and b, by bob c and d."""
    refuse(site)
    return site


def refuse(site: Site) -> None:
    site.network.then(answered(400, SCHEMA))
    for key, partner in (("a", "ada"), ("b", "ada"), ("c", "bob"), ("d", "bob")):
        sign_up(site, key, partner)
        site.drain()
        site.clock.advance(hours=1)


@pytest.mark.parametrize(
    ("which", "due"),
    [
        (["--partner", "ada"], "ab"),
        (["--customer", "c"], "c"),
        (["--kind", "signup", "--until", "2026-01-01 02:00"], "ab"),
        (["--since", "2h"], "cd"),
        (["--error", "'xid' is a required property"], "abcd"),
    ],
)
def test_retry_sends_what_is_named(refused: Site, which: list[str], due: str) -> None:
    result = refused.run("retry", *which, "--yes", "--why", "mended", "--json")
    assert json.loads(result.stdout) == {"due": len(due)}
    pending = {key for key, status in statuses(refused).items() if status == "pending"}
    assert pending == {f"{key} signup" for key in due}
    (entry,) = json.loads(refused.run("audit", "--limit", "1", "--json").stdout)
    assert (entry["act"], entry["why"], entry["detail"]["deliveries"]) == (
        "retry",
        "mended",
        len(due),
    )
    assert "customer" not in entry["detail"]


@pytest.mark.parametrize("which", [["--kind", "action"], ["--partner", "eve"], ["--error", "no"]])
def test_retry_of_nothing_changes_nothing(refused: Site, which: list[str]) -> None:
    assert refused.run("retry", *which, "--yes").exit_code == 1
    assert set(statuses(refused).values()) == {"refused"}


def test_the_preview_says_what_will_happen(site: Site) -> None:
    site.network.then(answered(400, SCHEMA), answered(401))
    for key in "ab":
        sign_up(site, key, "ada")
        site.drain()
    asked = site.run("retry", "--partner", "ada", input="n\n").stderr
    assert "They go out at once, and are given up 30 days from now." in asked
    assert "partnerstack/tracking is closed" in asked
    assert "those wait until it opens" in asked


# -- discard --------------------------------------------------------------------------------------


def test_what_is_discarded_is_never_sent_and_neither_is_what_waits_for_it(site: Site) -> None:
    for key, partner in (("a", "ada"), ("b", "bob")):
        sign_up(site, key, partner)
        paid = Transaction(customer_key=key, amount=100, currency="USD", key=f"inv-{key}")
        site.services.track(paid)
    asked = site.run("discard", "--partner", "ada", "--kind", "signup", input="n\n")
    assert "Never send 1 delivery?" in asked.stderr
    done = site.run("discard", "--partner", "ada", "--kind", "signup", "--yes", "--json")
    assert json.loads(done.stdout) == {"discarded": 1}
    site.network.then(accepted(), accepted())
    site.drain()
    assert statuses(site) == {
        "a signup": "withdrawn",
        "a transaction": "unattributed",
        "b signup": "delivered",
        "b transaction": "held",
    }
    assert [one.body["customer_key"] for one in site.network.requests if one.body] == ["b"]
    assert "discarded by hand" in site.run("explain", "a").stdout
    assert site.run("discard", "--partner", "ada", "--yes").exit_code == 1


def test_what_was_discarded_is_sent_again_by_hand(site: Site) -> None:
    sign_up(site, "a", "ada")
    site.run("discard", "--id", "1", "--yes")
    assert site.drain() == 0
    site.run("retry", "--id", "1", "--yes")
    assert site.drain() == 1


def test_what_is_on_its_way_is_not_discarded(site: Site) -> None:
    sign_up(site, "a", "ada")
    services = site.services
    services.supervisor.claims.claim(limit=1, now=site.clock.now(), lease=services.settings.lease)
    assert site.run("discard", "--id", "1", "--yes").exit_code == 1
    assert statuses(site) == {"a signup": "sending"}


# -- ack ------------------------------------------------------------------------------------------


def test_what_is_acknowledged_is_red_no_longer_until_it_fails_again(refused: Site) -> None:
    assert refused.run("status").exit_code == 1
    some = refused.run(
        "ack", "--status", "refused", "--until", "2026-01-01 02:00", "--yes", "--json"
    )
    assert json.loads(some.stdout) == {"acknowledged": 2}
    assert "2 refused in the last" in refused.run("status").stdout
    refused.run("ack", "--status", "refused", "--yes", "--why", "we know")
    assert refused.run("status").exit_code == 0
    assert refused.run("check").exit_code == 0
    assert json.loads(refused.run("status", "--json").stdout)["counts"] == {"refused": 4}
    assert refused.run("ack", "--status", "refused", "--yes").exit_code == 1

    refused.run("retry", "--id", "1", "--yes")
    refused.drain()
    assert "1 refused in the last" in refused.run("status").stdout


# -- credit --from --------------------------------------------------------------------------------


@pytest.fixture
def credits(site: Site, tmp_path: Path) -> Path:
    """A file with one who has no click, one whom nobody knows, and one who has a click."""
    site.services.supervisor.prepare()
    site.services.track_signup(customer_key="lost")
    sign_up(site, "found", "ada")
    site.drain()
    file = tmp_path / "credits.csv"
    file.write_text("customer,click,note\nlost,late1,x\nnew,late2,\nfound,late3,\n")
    return file


def test_many_are_credited_from_a_file_and_twice_is_once(site: Site, credits: Path) -> None:
    shown = site.run("credit", "--from", str(credits), input="n\n")
    assert shown.exit_code == 1
    assert "Credit 2 customers?" in shown.stderr
    assert "keeps what is there" in shown.stderr
    assert statuses(site)["lost signup"] == "unattributed"

    done = site.run("credit", "--from", str(credits), "--yes", "--why", "by mail", "--json")
    assert json.loads(done.stdout) == {"credited": 2, "already": 0, "kept": 1}
    assert statuses(site)["lost signup"] == statuses(site)["new signup"] == "pending"
    again = site.run("credit", "--from", str(credits), "--yes", "--json")
    assert json.loads(again.stdout) == {"credited": 0, "already": 2, "kept": 1}
    site.drain()
    third = site.run("credit", "--from", str(credits), "--yes", "--json")
    assert json.loads(third.stdout) == {"credited": 0, "already": 2, "kept": 1}
    acts = json.loads(site.run("audit", "--json").stdout)
    assert [(one["act"], one["why"]) for one in acts] == [("credit", "by mail")] * 2


@pytest.mark.parametrize(
    "text", ["", "customer\na\n", "customer,click\na,not a click\n", "customer,click\n,c1\n"]
)
def test_a_file_that_cannot_be_meant_changes_nothing(site: Site, tmp_path: Path, text: str) -> None:
    file = tmp_path / "credits.csv"
    file.write_text(text)
    assert site.run("credit", "--from", str(file), "--yes").exit_code == 2
    assert site.run("list").stdout == "No deliveries.\n"


@pytest.mark.service
def test_acts_on_many_are_done_where_nothing_is_changed_without_a_key(
    open_site: Callable[..., Site], guarded_mariadb_url: str
) -> None:
    site = open_site(S2S_DATABASE_URI=guarded_mariadb_url)
    assert site.run("init-db").exit_code == 0
    refuse(site)
    site.sign_up("e")
    done = [
        site.run(*command, "--yes").output
        for command in (
            ("ack", "--status", "refused"),
            ("retry", "--status", "refused"),
            ("discard", "--kind", "signup"),
            ("restored", "--since", "1d"),
        )
    ]
    assert done[0].startswith("4 deliveries acknowledged"), done
    assert done[1].startswith("4 are due now"), done
    assert done[2].startswith("5 deliveries discarded"), done
    assert "0 are looked for" in done[3], done
