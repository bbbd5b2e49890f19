"""What became of what was sent again: on its own page, beside what failed, and in the audit log."""

from __future__ import annotations

import json
import re
import shlex
from datetime import timedelta

import pytest

from flask_s2s.cli import s2s
from flask_s2s.networks.messages import Request, Response
from flask_s2s.rules.attribution import Reason
from flask_s2s.store.audit import Entry
from flask_s2s.testing import answered
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme, token_in


def refuse(request: Request) -> Response:
    return answered(400, '{"message": "meta does not match"}')


def refused(programme: Programme, number: int) -> None:
    programme.line.instead = refuse
    for one in range(number):
        programme.signs_up(str(one), "ada")
    programme.services.drain()


def send_again(programme: Programme) -> str:
    """Send all refused sign-ups again from the page; return where that led."""
    client, path = programme.client(), "/partners/failed/retry?status=refused&kind=signup"
    token = token_in(client.get(path).text, "/failed/retry")
    answer = client.post(path, data={"token": token, "why": "the field is mapped"})
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"].removeprefix("/partners")


def test_sending_again_leads_to_a_page_that_tells_how_far_it_is(programme: Programme) -> None:
    refused(programme, 3)
    place = send_again(programme)
    said = programme.read(place)
    assert "0 of 3 settled" in said
    assert "On its way 3" in said
    answers = iter([None, None])
    programme.line.instead = lambda request: next(answers, refuse(request))
    programme.services.drain()
    said = programme.read(place, "looks")
    assert "3 of 3 settled" in said
    assert ("Accepted 2" in said, "Failed 1" in said) == (True, True)
    assert "Failed again" in said
    assert "Retry by Jo (dashboard), 00:00 : “the field is mapped”" in said


def test_what_was_sent_again_lately_is_beside_what_failed(any_programme: Programme) -> None:
    programme = any_programme
    refused(programme, 2)
    programme.line.mend()
    send_again(programme)
    programme.services.drain()
    line = "Refused, sign-ups Jo (dashboard) the field is mapped 2 2 accepted 00:00"
    assert line in programme.read("/failed")


def test_what_was_sent_again_long_ago_is_not(programme: Programme) -> None:
    refused(programme, 2)
    programme.line.mend()
    send_again(programme)
    programme.after(days=8)
    assert "Sent again lately" not in programme.read("/failed")


def test_an_act_on_many_is_one_line(any_programme: Programme) -> None:
    programme = any_programme
    refused(programme, 3)
    send_again(programme)
    acts = programme.client().get("/partners/acts").text
    assert len(re.findall(r'<th role="rowheader" scope="row">', acts)) == 1
    listed = cli_runner(programme.app).invoke(s2s, ["audit", "--json"]).stdout
    (entry,) = json.loads(listed)
    assert entry["detail"] == {
        "status": "refused",
        "kind": "signup",
        "deliveries": 3,
        "ids": [1, 2, 3],
    }
    for customer in ("0", "2"):
        explained = cli_runner(programme.app).invoke(s2s, ["explain", customer]).stdout
        assert "retry by Jo (dashboard)" in explained
        assert "ids" not in explained


def test_the_command_lines_retry_is_shown_alike(programme: Programme) -> None:
    refused(programme, 2)
    programme.line.mend()
    result = cli_runner(programme.app).invoke(
        s2s, ["retry", "--status", "refused", "--yes", "--why", "mended"]
    )
    assert result.exit_code == 0, result.output
    programme.services.drain()
    assert "mended 2 2 accepted" in programme.read("/failed")


def test_the_command_line_tells_how_far_an_act_is(programme: Programme) -> None:
    refused(programme, 3)
    run = cli_runner(programme.app).invoke
    assert run(s2s, ["retry", "--status", "refused", "--yes", "--why", "mended"]).exit_code == 0
    [listed] = json.loads(run(s2s, ["audit", "--json"]).stdout)
    number = str(listed["id"])
    assert run(s2s, ["audit"]).stdout.splitlines()[1].split()[0] == number
    said = run(s2s, ["audit", number]).stdout
    assert "mended" in said
    assert "0 of 3 settled." in said
    programme.services.drain()  # The network still refuses them.
    said = run(s2s, ["audit", number]).stdout
    assert "3 of 3 settled." in said
    assert "failed again" in said
    told = json.loads(run(s2s, ["audit", number, "--json"]).stdout)
    assert (told["number"], told["settled"], told["open"], told["further"]) == (3, 3, 0, 0)
    assert told["states"]["failed"] == len(told["failed_again"]) == 3
    assert "3 of 3 settled" in programme.read(f"/acts/{number}")


def test_the_command_line_has_no_act_that_has_no_page(programme: Programme) -> None:
    programme.services.audit.write(entry_of(programme))
    for number in ("1", "2"):
        result = cli_runner(programme.app).invoke(s2s, ["audit", number])
        assert result.exit_code == 1
        assert f"There is no act {number} on deliveries." in result.stderr


@pytest.mark.parametrize("number", [2, 2**63])
def test_an_act_that_is_none_or_was_on_nothing_sent_has_no_page(
    programme: Programme, number: int
) -> None:
    programme.signs_up("1", reason=Reason.NO_CLICK)
    programme.services.audit.write(entry_of(programme))
    assert "There is no act" in programme.read(f"/acts/{number}", status=404)
    assert "There is no act" in programme.read("/acts/1", status=404)


def entry_of(programme: Programme) -> Entry:
    return Entry(at=programme.clock.now(), act="block", who="Jo", why=None, detail={})


def test_a_preview_shows_the_command_that_does_the_same(programme: Programme) -> None:
    """Of another time it does nothing, as the page."""
    refused(programme, 1)
    programme.clock.advance(timedelta(days=10))
    for customer in ("8", "9"):
        programme.signs_up(customer, "ada")
    programme.services.drain()
    programme.line.mend()
    said = programme.read("/failed/retry?status=refused&period=7d")
    [line] = re.findall(r"On the command line: flask s2s (retry .*?) Times are", said)
    run = cli_runner(programme.app).invoke(s2s, [*shlex.split(line), "--yes", "--json"])
    assert json.loads(run.stdout) == {"due": 2}
    assert "Nothing to send again" in programme.read("/failed/retry?status=refused&period=7d")
    assert "Send 1 again?" in programme.read("/failed/retry?status=refused")


def test_a_preview_says_what_keeps_it_back(programme: Programme) -> None:
    refused(programme, 1)
    now = programme.clock.now()
    programme.services.supervisor.breakers.pause("partnerstack/tracking", "their night", None, now)
    said = programme.read("/failed/retry?status=refused")
    assert "They go out at once, and are given up 30 days from now." in said
    assert (
        "partnerstack/tracking is closed (paused by hand: their night): those wait until it opens."
        in said
    )
