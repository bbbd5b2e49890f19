"""One model, several faces: a number on a page is the command line's."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from flask_s2s.cli import s2s
from flask_s2s.operations.causes import Why, narrowed, why
from flask_s2s.operations.words import GROUP_OF, STATUS_WORDS
from flask_s2s.store.queries import Queries, Wanted
from flask_s2s.testing import answered
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme, token_in, words_of
from tests.dashboard.test_numbers import fill


def told(programme: Programme, *command: str) -> Any:
    result = cli_runner(programme.app).invoke(s2s, [*command, "--json"])
    return json.loads(result.stdout)


def has_all_sorts(programme: Programme) -> None:
    """Fill it, and let some be refused, some be tried later, and some wait."""
    fill(programme)
    programme.line.instead = lambda _: answered(400, '{"message": "meta does not match"}')
    programme.signs_up("r1", "ada")
    programme.signs_up("r2", "fern")
    programme.services.drain()
    half = iter([answered(500)] * 2)
    programme.line.instead = lambda _: next(half, None)
    for number in range(5):
        programme.signs_up(f"h{number}", "ada")
    programme.services.drain()
    programme.signs_up("new", "ada")


def test_the_tabs_are_what_the_list_counts(any_programme: Programme) -> None:
    has_all_sorts(any_programme)
    counted: Counter[str] = Counter()
    for one in told(any_programme, "list", "--group", "reason"):
        counted[GROUP_OF[one["status"]].word] += one["number"]
    said = any_programme.read("/conversions")
    assert f"All {sum(counted.values())} Confirmed" in said
    for word, number in counted.items():
        assert f"{word} {number} " in said


def test_the_lanes_are_what_status_tells(any_programme: Programme) -> None:
    has_all_sorts(any_programme)
    status = told(any_programme, "status")
    said = any_programme.read("/delivery")
    for lane in status["lanes"]:
        later = lane["tried"] - lane["accepted"] - lane["tries"].get("refused", 0)
        refused = lane["tries"].get("refused", 0)
        if lane["tried"]:
            tries = f"{lane['accepted']} accepted, {later} “try later”, {refused} refused"
            assert f"{tries} {lane['due']} {lane['later']} " in said
        assert f"{lane['lane']} {lane['state'].capitalize()} " in said
    assert {lane["state"] for lane in status["lanes"]} == {"unsteady", "open"}
    open_ = sum(status["counts"].get(one, 0) for one in ("pending", "waiting", "held", "sending"))
    assert f"All {open_} Workers" in said


def test_what_failed_is_what_the_list_groups(any_programme: Programme) -> None:
    has_all_sorts(any_programme)
    said = any_programme.read("/failed")
    (group,) = told(any_programme, "list", "--status", "refused", "--group", "error")
    counted = f"{STATUS_WORDS['refused']} Sign-up {group['number']} {group['customers']} "
    assert (group["number"], counted in said) == (2, True)
    assert any_programme.services.supervisor.summary().failed_lately["refused"] == 2
    assert "2 refused in the last 7 days" in any_programme.read("/")
    assert "Failed 2 need a hand" in said


def test_a_cause_is_filtered_by_as_it_is_told(any_programme: Programme) -> None:
    programme = any_programme
    has_all_sorts(programme)
    programme.line.instead = lambda _: answered(404, "<h1>Not Found</h1>")
    programme.signs_up("nf", "ada")
    programme.services.drain()
    programme.line.instead = lambda _: answered(401)
    programme.signs_up("held", "ada")
    programme.services.drain()
    programme.pays("h0", 100, "in_9")
    programme.services.drain()
    by_cause: dict[str, list[int]] = {one.value: [] for one in Why}
    for one in told(programme, "list"):
        if one["cause"] is not None:
            by_cause[one["cause"]].append(one["id"])
    assert len([ids for ids in by_cause.values() if ids]) >= 4
    for cause, ids in by_cause.items():
        assert [one["id"] for one in told(programme, "list", "--cause", cause)] == ids, cause
        said = programme.read(f"/conversions?cause={cause}")
        file = programme.client().get(f"/partners/conversions.csv?cause={cause}").text
        assert file.count("\n") == len(ids) + 1
        if ids:
            assert f"{len(ids)} shown of {len(ids)}." in said
            assert f"--cause {cause}" in said
        else:
            assert "Nothing matches" in said
    assert "Nothing matches" in programme.read("/conversions?cause=refused&state=delivered")
    assert "Cause is one of" in programme.read("/conversions?cause=bad", status=400)


def test_what_waits_for_another_is_one_group(any_programme: Programme) -> None:
    fill(any_programme)
    for customer, partner in (("w1", "ada"), ("w2", "ada"), ("w3", None)):
        any_programme.signs_up(customer, partner)
        any_programme.pays(customer, 100, f"in_{customer}")
    any_programme.services.drain()
    waiting = any_programme.services.supervisor.summary().counts["waiting"]
    groups = told(any_programme, "list", "--group", "error")
    (group,) = [one for one in groups if one["status"] == "waiting"]
    assert (group["name"], group["number"]) == (None, waiting)
    assert waiting >= 2
    shown = cli_runner(any_programme.app).invoke(s2s, ["list", "--group", "error"]).stdout
    assert "It goes out by itself once what it belongs to is there." in shown
    by_partner = cli_runner(any_programme.app).invoke(s2s, ["list", "--group", "partner"]).stdout
    assert re.search(r"^- +waiting +1 ", by_partner, re.M)


def test_what_fails_with_others_is_one_cause_and_sent_again_as_one(
    any_programme: Programme,
) -> None:
    """Each last word names its own sign-up: there was a line on the page for each of hundreds."""
    programme, client = any_programme, any_programme.client()
    programme.line.instead = lambda _: answered(400, '{"message": "meta does not match"}')
    for number in range(4):
        programme.signs_up(f"p{number}", "ada")
        programme.pays(f"p{number}", 100, f"in_{number}")
    programme.services.drain()
    programme.line.mend()
    said = programme.read("/failed")
    meaning = "What it belongs to did not get through, so it cannot either."
    assert f"{meaning} Refused Payment 4 4 4.00 USD" in said
    assert "its sign-up (number" not in said
    groups = told(programme, "list", "--group", "error", "--status", "refused")
    assert {(one["name"], one["cause"], one["number"], one["customers"]) for one in groups} == {
        ("meta does not match", None, 4, 4),
        (None, "parent", 4, 4),
    }
    assert meaning in cli_runner(programme.app).invoke(s2s, ["list", "--group", "error"]).stdout
    page = client.get("/partners/failed").text
    links = {html.unescape(one) for one in re.findall(r'href="([^"]*cause=parent[^"]*)"', page)}
    listed, acked, sent = sorted(links)
    assert "4 shown of 4." in words_of(client.get(listed).text)
    for path, heading in ((acked, "Acknowledge 4?"), (sent, "Send 4 again?")):
        asked = client.get(path).text
        assert (heading in asked, meaning in asked) == (True, True)
        line = "--status refused --kind transaction --cause parent"
        assert line in words_of(asked)
        # Made for what has this cause, a form does nothing to the rest.
        form = {"token": token_in(asked, path.split("?")[0]), "why": "known"}
        wider = client.post(path.replace("&cause=parent", ""), data=form)
        assert wider.status_code == 409
        assert client.post(path, data=form).status_code == 303
    assert [(one.act, one.told["cause"]) for one in programme.services.audit.newest(2)] == [
        ("retry", "parent"),
        ("ack", "parent"),
    ]
    assert f"Refused, payments: {meaning}" in programme.read("/failed")
    programme.services.drain()
    run = cli_runner(programme.app).invoke(s2s, ["retry", "--cause", "parent", "--yes"])
    assert run.stdout.strip() == "4 are due now."


def test_a_key_that_was_used_for_something_else_is_one_cause(
    tmp_path: Path, database_url: str
) -> None:
    """Invoices that are counted anew each year: a line on the page for each of hundreds."""
    programme = Programme(tmp_path, database_url, TESTING=False)
    try:
        for number in range(3):
            programme.pays("ada's", 100, f"in_{number}")
            programme.pays("another's", 100, f"in_{number}")
        said = programme.read("/failed")
        assert f"{Why.ANOTHERS.meaning} Invalid Payment 3 1" in said
        assert "is that of another" not in said
    finally:
        programme.close()


def test_a_networks_word_is_not_taken_for_one_of_ours(any_programme: Programme) -> None:
    programme, word = any_programme, "meta does not match (delivery address)"
    programme.line.instead = lambda _: answered(400, json.dumps({"message": word}))
    programme.signs_up("p1", "ada")
    programme.services.drain()
    (one,) = told(programme, "list")
    assert (one["detail"], one["cause"]) == (word, "refused")
    assert f"{word} {Why.REFUSED.meaning}" in programme.read("/failed")


def test_what_failed_without_a_word_is_not_taken_for_all_that_failed(
    any_programme: Programme,
) -> None:
    """Pruned failures have no word left: their line led to every failure, and acknowledged it."""
    programme, client = any_programme, any_programme.client()
    programme.line.instead = lambda _: answered(400, '{"message": "meta does not match"}')
    for number in range(2):
        programme.signs_up(f"p{number}", "ada")
    programme.services.drain()
    days = f"?from={programme.clock.now():%Y-%m-%d}"
    programme.clock.advance(timedelta(days=95))
    days += f"&to={programme.clock.now():%Y-%m-%d}"
    prune = ["prune", "--older-than", "91", "--dead-letters", "--yes"]
    run = cli_runner(programme.app).invoke(s2s, prune)
    assert run.exit_code == 0, run.output
    for number in range(3):
        programme.signs_up(f"q{number}", "ada")
    programme.services.drain()
    assert "No word of the network" in programme.read(f"/failed{days}")
    page = client.get(f"/partners/failed{days}").text
    links = {html.unescape(one) for one in re.findall(r'href="([^"]*detail=-[^"]*)"', page)}
    listed, acked, sent = sorted(links)
    said = words_of(client.get(listed).text)
    assert "2 shown of 2." in said
    assert "No last word" in said
    assert re.search("flask s2s list .* --status refused --error ''", said)
    assert "Nothing to send again" in client.get(sent).text
    asked = client.get(acked).text
    assert "Acknowledge 2?" in asked
    assert "flask s2s ack --status refused --kind signup --error ''" in words_of(asked)
    form = {"token": token_in(asked, acked.split("?")[0]), "why": "old"}
    assert client.post(acked, data=form).status_code == 303
    assert "Acknowledged" in programme.read(f"/failed{days}")
    assert "Acknowledge 3?" in client.get(f"/partners/failed/ack{days}").text
    # The command line means the same by it.
    assert len(told(programme, "list", "--error", "", "--status", "refused")) == 2
    run = cli_runner(programme.app).invoke(s2s, ["retry", "--error", "", "--yes"])
    assert "None of these can be sent again" in run.stderr


def test_a_cause_is_filtered_by_letter_by_letter(any_programme: Programme) -> None:
    programme = any_programme
    words = (
        *(None, "NO ANSWER", "no answer", "unexpected answer 404", "unexpected answer 40"),
        *("asked to slow down; taken or not", "its signup (delivery 1)", "(Delivery 1)", "100 %"),
        *("its signup (delivery 1) is another customer's", "unproved; TLS failed", "it's \\ _"),
    )
    programme.signs_up("0", "ada")
    rows, engine = programme.services.storage.tables.delivery, programme.services.storage.engine()
    with engine.begin() as connection:
        (one,) = connection.execute(select(rows)).mappings()
        told = [(status, word) for status in ("pending", "refused", "invalid") for word in words]
        for number, (status, word) in enumerate(told, 2):
            due_at = one["due_at"] if status == "pending" else None
            own = {"id": number, "dedupe": str(number), "status": status, "detail": word}
            settled_at = None if due_at else one["created_at"]
            connection.execute(
                insert(rows), {**one, **own, "due_at": due_at, "settled_at": settled_at}
            )
    queries = Queries(programme.services.storage, programme.services.outbox)
    for cause in Why:
        found = {row.id for row in queries.page(narrowed(Wanted(), cause), 100)}
        assert found == {
            n for n, (status, word) in enumerate(told, 2) if why(status, word) is cause
        }
