"""Asking the network again whether it has what it accepted: from a conversion's page, and by command."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from itsdangerous import URLSafeTimedSerializer

from flask_s2s import Click, Status
from flask_s2s.cli import s2s
from flask_s2s.networks.messages import Response
from flask_s2s.rules.attribution import Reason
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme, token_in, words_of

BUTTON = "Ask the network again"


@pytest.fixture
def accepted(programme: Programme) -> Programme:
    """A sign-up that was taken by an answer, and is not on record: only its say-so is there."""
    programme.line.instead = lambda one: Response(status=200) if one.method == "POST" else None
    location = programme.sandbox.test_client().get("/go/ada").headers["Location"]
    click_id = parse_qs(urlsplit(location).query)["ps_xid"][0]
    click = Click(click_id=click_id, at=programme.clock.now(), partner_key="ada")
    assert programme.services.track_signup(customer_key="41", click=click)
    programme.services.drain()
    return programme


def told_after(programme: Programme, number: int = 1) -> str:
    """Press the button, and return what the page says that one is led to."""
    client = programme.client()
    token = token_in(client.get(f"/partners/conversions/{number}").text, f"/{number}/ask")
    answer = client.post(f"/partners/conversions/{number}/ask", data={"token": token})
    assert answer.status_code == 303
    return words_of(client.get(answer.headers["Location"]).text)


def status(programme: Programme) -> Status:
    found = programme.services.ledger.get(1)
    assert found is not None
    return found[0].status


def arrives(programme: Programme) -> None:
    """Let the network have it after all."""
    programme.line.mend()
    sent = programme.line.asked("/conversion/xid")[0]
    programme.line.send(sent, seconds=9)


def test_what_is_on_record_is_confirmed_at_once(accepted: Programme) -> None:
    arrives(accepted)
    assert "The network was asked: on record at the network." in told_after(accepted)
    assert status(accepted) is Status.CONFIRMED
    assert BUTTON not in accepted.read("/conversions/1")
    explained = cli_runner(accepted.app).invoke(s2s, ["explain", "41"]).stdout
    assert "Verify Jo (dashboard) – id 1" in accepted.read("/acts")
    assert "verify by Jo (dashboard)" in explained


def test_what_is_missing_is_found_when_it_appears(accepted: Programme) -> None:
    for _ in range(40):
        accepted.after(minutes=15)
    assert status(accepted) is Status.MISSING
    assert "Confirmed not on its record" in accepted.read("/conversions/1")
    assert "The network was asked: missing before; not on record now." in told_after(accepted)
    assert status(accepted) is Status.MISSING
    arrives(accepted)
    told_after(accepted)
    assert status(accepted) is Status.CONFIRMED


def test_a_record_that_cannot_be_read_is_told_and_changes_nothing(accepted: Programme) -> None:
    accepted.line.cut_api()
    told = told_after(accepted)
    assert "could not connect" in told.partition("The network was asked: ")[2][:80], told
    assert status(accepted) is Status.DELIVERED


def test_nothing_is_sent_again_because_somebody_asks_too_soon(accepted: Programme) -> None:
    posts = len(accepted.line.asked("/conversion/xid"))
    assert "not on record yet, which says nothing so soon" in told_after(accepted)
    accepted.services.drain()
    assert len(accepted.line.asked("/conversion/xid")) == posts


def test_only_what_the_network_accepted_is_asked_for(programme: Programme) -> None:
    programme.signs_up("1", reason=Reason.NO_CLICK)
    programme.signs_up("2", "ada")
    for number in (1, 2):
        assert BUTTON not in programme.read(f"/conversions/{number}")
        asking = ["verify", "--id", str(number)]
        assert cli_runner(programme.app).invoke(s2s, asking).exit_code == 1
    assert not [one for one in programme.line.requests if "/api/" in one.url]
    programme.services.drain()
    assert BUTTON in programme.read("/conversions/2")
    assert BUTTON not in programme.read("/conversions/2", "looks")


def test_a_network_that_is_read_by_no_keys_is_not_asked(tmp_path: Path, sqlite_url: str) -> None:
    config = {"S2S_PARTNERSTACK_PUBLIC_KEY": None, "S2S_PARTNERSTACK_SECRET_KEY": None}
    made = Programme(tmp_path, sqlite_url, **config)
    made.signs_up("41", "ada")
    made.services.drain()
    assert "Accepted" in made.read("/conversions/1")
    assert BUTTON not in made.read("/conversions/1")
    made.close()


def test_the_command_line_asks_for_one_alike(accepted: Programme) -> None:
    run = cli_runner(accepted.app).invoke
    result = run(s2s, ["verify", "--id", "1", "--why", "they say they have it", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["not_yet"]) == (0, 1)
    arrives(accepted)
    assert run(s2s, ["verify", "--id", "1"]).exit_code == 0
    assert status(accepted) is Status.CONFIRMED
    assert "they say they have it id 1" in accepted.read("/acts")
    nothing = run(s2s, ["verify", "--id", "7"])
    assert nothing.exit_code == 1
    assert "flask s2s show 7" in nothing.stderr


def test_looking_at_all_is_no_act_of_anybodys(accepted: Programme) -> None:
    assert cli_runner(accepted.app).invoke(s2s, ["verify", "--all"]).exit_code == 0
    assert accepted.services.audit.newest(1) == []


def test_a_notice_is_of_what_was_done_and_told_to_who_did_it(accepted: Programme) -> None:
    """A link that somebody else wrote has a page say nothing."""
    client = accepted.client()
    token = token_in(client.get("/partners/conversions/1").text, "/1/ask")
    answer = client.post("/partners/conversions/1/ask", data={"token": token})
    place = answer.headers["Location"].removeprefix("/partners")
    assert "The network was asked" in accepted.read(place)
    assert "The network was asked" not in accepted.read(place, "looks")
    told = re.search(r"told=([^&]+)", html.unescape(place))
    assert told is not None
    # Addresses are kept in logs.
    assert "acts" not in URLSafeTimedSerializer("").loads_unsafe(told[1])[1]
    for forged in (told[1][:-2] + "xx", token, "You+are+paid"):
        assert 'role="status"' not in client.get(f"/partners/?told={forged}").text
