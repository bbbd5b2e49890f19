"""The hands of an operator on the pages: pause and resume, acknowledge, discard, block; each is noted."""

from __future__ import annotations

import json
from datetime import timedelta

from flask.testing import FlaskClient

from flask_s2s import Click
from flask_s2s.cli import s2s
from flask_s2s.operations.words import REASON_WORDS
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.rules.identity import identities
from flask_s2s.testing import answered
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme, token_in
from tests.dashboard.test_cases import refuse

LANE = "partnerstack/tracking"


def status(programme: Programme) -> dict[str, object]:
    told: dict[str, object] = json.loads(
        cli_runner(programme.app).invoke(s2s, ["status", "--json"]).stdout
    )
    return told


def test_a_lane_is_paused_and_let_go_on(programme: Programme) -> None:
    programme.signs_up("1", "ada")
    client, path = programme.client(), f"/partners/delivery/pause?lane={LANE}"
    page = client.get(path).text
    assert "1 will wait in it" in page
    form = {"token": token_in(page, "/delivery/pause"), "until": "4h"}
    wordless = client.post(path, data=form)
    assert (wordless.status_code, "Say why" in wordless.text) == (422, True)
    assert client.post(path, data={**form, "why": "they asked for it"}).status_code == 303
    programme.services.drain()
    said = programme.read("/delivery")
    assert f"{LANE} is paused since" in said
    assert "they asked for it" in said
    assert "Waits to be sent" in programme.read("/conversions")
    assert "Pause Jo (dashboard) they asked for it lane partnerstack/tracking" in programme.read(
        "/acts"
    )
    opening = {"token": token_in(client.get("/partners/delivery").text, "/delivery/resume")}
    assert (
        client.post("/partners/delivery/resume", data={**opening, "lane": LANE}).status_code == 303
    )
    programme.services.drain()
    assert "Accepted" in programme.read("/conversions")
    assert "Resume Jo (dashboard)" in programme.read("/acts")


def test_a_lane_that_is_not_there_is_not_paused(programme: Programme) -> None:
    assert "There is no such lane" in programme.read("/delivery/pause?lane=x", status=404)


def test_a_failure_is_acknowledged_and_the_red_light_goes_out(programme: Programme) -> None:
    programme.line.instead = refuse
    programme.signs_up("1", "ada")
    programme.services.drain()
    client = programme.client()
    path = "/partners/failed/ack?status=refused&kind=signup"
    assert "Failed 1 need a hand" in programme.read("/")
    assert status(programme)["problems"] != []
    page = client.get(path).text
    assert "Acknowledge 1?" in page
    form = {"token": token_in(page, "/failed/ack")}
    assert client.post(path, data=form).status_code == 422
    assert client.post(path, data={**form, "why": "the form is mended"}).status_code == 303
    said = programme.read("/failed")
    assert "Acknowledged" in said
    assert "meta does not match" in said
    assert "need a hand" not in said
    assert status(programme)["problems"] == []
    assert "Ack Jo (dashboard) the form is mended" in programme.read("/acts")
    assert "Nothing to acknowledge" in programme.read(path.removeprefix("/partners"))


def test_one_that_waits_is_discarded_and_never_sent(programme: Programme) -> None:
    programme.line.instead = lambda request: answered(500)
    programme.signs_up("1", "ada")
    programme.services.drain()
    client, path = programme.client(), "/partners/failed/discard?id=1"
    assert "Discard" in programme.read("/conversions/1")
    page = client.get(path).text
    assert "It will never be sent by itself." in page
    form = {"token": token_in(page, "/failed/discard"), "why": "a test of ours"}
    assert client.post(path, data=form).status_code == 303
    programme.line.mend()
    programme.after(days=1)
    assert "Withdrawn" in programme.read("/conversions/1")
    assert "Discard Jo (dashboard) a test of ours" in programme.read("/acts")
    # It can still be sent again by hand, and the same form does nothing twice.
    assert client.post(path, data=form).status_code == 409
    again = {"token": token_in(client.get("/partners/conversions/1").text, "/1/retry")}
    assert client.post("/partners/conversions/1/retry", data=again).status_code == 303
    programme.services.drain()
    assert "accepted it" in programme.read("/conversions/1")


def blocked(client: FlaskClient, **form: str) -> int:
    token = token_in(client.get("/partners/fraud").text, "/fraud/block")
    form = {"network": "partnerstack", "token": token, **form}
    return client.post("/partners/fraud/block", data=form).status_code


def test_a_partner_is_blocked_and_unblocked(programme: Programme) -> None:
    client = programme.client()
    assert blocked(client, kind="partner", name="eve!", why="x") == 422
    assert blocked(client, kind="partner", name="eve") == 422
    assert blocked(client, kind="partner", name="eve", why="buys its own name") == 303
    assert blocked(client, kind="partner", name="eve", why="again") == 422
    click = Click(click_id="c1", at=programme.clock.now(), partner_key="eve")
    programme.services.track_signup(customer_key="1", click=click)
    assert "Partner or click blocked" in programme.read("/conversions")
    assert "Block Jo (dashboard) buys its own name partner eve" in programme.read("/acts")
    form = {"token": token_in(client.get("/partners/fraud").text, "/fraud/unblock")}
    assert client.post("/partners/fraud/unblock", data=form).status_code == 303
    assert "Nobody." in programme.read("/fraud")
    assert "Unblock Jo (dashboard)" in programme.read("/acts")


def test_who_is_too_good_to_be_true_is_told_on_each_database(any_programme: Programme) -> None:
    programme = any_programme
    click = Click(click_id="c1", at=programme.clock.now(), partner_key="eve")
    for number in range(3):
        programme.services.track_signup(customer_key=f"e{number}", click=click)
    slow = Click(click_id="c2", at=programme.clock.now(), partner_key="ada")
    programme.clock.advance(timedelta(hours=2))
    for number in range(4):
        programme.services.track_signup(customer_key=f"a{number}", click=slow)
    said = programme.read("/fraud?period=7d")
    assert "Ada & Co 0 4 \u2013 0.0 % 2 h" in said
    # Who is suspicious comes before who brought more.
    assert said.index("eve 0 3") < said.index("Ada & Co 0 4")
    assert "c1 eve 3" in said
    assert "eve 0 3 \u2013 100.0 %" in said


def test_the_page_names_who_collects_identities(programme: Programme) -> None:
    services, now = programme.services, programme.clock.now()
    found = Attribution(Click(click_id="c1", at=now, partner_key="eve"), Reason.COOKIE)
    with services.storage.engine().begin() as connection:
        for number in range(5):
            services.bindings.bind(
                connection, identities(f"p{number}@example.com", None), found, now
            )
    assert "c1 Click 5" in programme.read("/fraud")
    assert blocked(programme.client(), kind="click", name="c1", why="collects addresses") == 303
    assert "Nobody in the last week" in programme.read("/fraud")


def test_every_reason_has_words_of_its_own() -> None:
    assert set(REASON_WORDS) == {reason.value for reason in Reason}
