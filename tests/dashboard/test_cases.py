"""Cases that a partner manager and an engineer on call solve from the pages alone."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from flask_s2s import Click
from flask_s2s.cli import s2s
from flask_s2s.conversion import Signup
from flask_s2s.networks.messages import Request, Response
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.rules.identity import identities
from flask_s2s.testing import answered
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme, token_in


def refuse(request: Request) -> Response:
    return answered(400, '{"message": "meta does not match"}')


def test_a_refused_sign_up_says_with_which_words(programme: Programme) -> None:
    programme.line.instead = refuse
    programme.signs_up("4", "ada")
    programme.services.drain()
    assert "Refused: meta does not match" in programme.read("/customer?key=4")
    assert "meta does not match" in programme.read("/failed")
    assert "refused in the last 7 days" in programme.read("/")


def test_what_was_never_sent_is_not_said_to_be_refused_by_the_network(
    programme: Programme,
) -> None:
    programme.line.instead = refuse
    programme.signs_up("4", "ada")
    programme.pays("4", 4900, "in_1")
    programme.services.drain()
    told = cli_runner(programme.app).invoke(s2s, ["explain", "4"]).stdout
    payment, signup = told.split("signup  (delivery 1)")
    assert "refused: it was not sent. What it belongs to did not get through" in payment
    assert "refused: the network refused it for good." in signup


def test_a_sign_up_that_is_held_says_for_which_credential(programme: Programme) -> None:
    programme.line.instead = lambda request: answered(401, '{"message": "token revoked"}')
    programme.signs_up("5", "ada")
    programme.services.drain()
    assert "Held" in programme.read("/customer?key=5")
    assert "The network does not take our credential" in programme.read("/conversions/1")
    lanes = programme.read("/delivery")
    assert "partnerstack/tracking is closed since" in lanes


def test_a_customer_is_credited_by_hand_and_goes_out(programme: Programme) -> None:
    programme.signs_up("6", reason=Reason.NO_CLICK)
    client = programme.client()
    token = token_in(client.get("/partners/customer?key=6").text, "/customer/credit")
    form = {"token": token, "key": "6", "click": "not a click!"}
    wrong = client.post("/partners/customer/credit", data=form)
    assert wrong.status_code == 422
    assert "A click ID is letters, digits" in wrong.text
    assert re.findall(r'<input id="(\w+)"[^>]*aria-invalid', wrong.text) == ["click"]
    wordless = client.post("/partners/customer/credit", data={**form, "click": "2tVWbJLMHbJS6P"})
    assert (wordless.status_code, "Say why" in wordless.text) == (422, True)
    assert re.findall(r'<input id="(\w+)"[^>]*aria-invalid', wordless.text) == ["why"]
    form |= {"click": "2tVWbJLMHbJS6P", "why": "the partner showed the mail"}
    assert client.post("/partners/customer/credit", data=form).status_code == 303
    programme.services.drain()
    credited = programme.read("/customer?key=6")
    assert ("Nobody is credited" in credited, "`" in credited) == (False, False)
    assert "Credited by hand." in credited
    assert "Credit Jo (dashboard) the partner showed the mail" in programme.read("/acts")
    by_hand = "By hand Act By Why To When Credit Jo (dashboard) the partner showed the mail click"
    assert by_hand in programme.read("/customer?key=6")
    # The same again changes nothing; another click does not take the customer over.
    assert client.post("/partners/customer/credit", data=form).status_code == 303
    again = client.post("/partners/customer/credit", data={**form, "click": "another"})
    assert again.status_code == 422
    assert "has a partner already" in again.text


def test_what_failed_is_sent_again_after_a_preview(programme: Programme) -> None:
    programme.line.instead = refuse
    for number in range(12):
        programme.signs_up(str(number), "ada")
    programme.services.drain()
    programme.line.mend()
    client, path = programme.client(), "/partners/failed/retry?status=refused&kind=signup"
    page = client.get(path).text
    assert "Send 12 again?" in page
    token = token_in(page, "/failed/retry")
    assert client.post(path, data={"token": token, "why": "mended"}).status_code == 422
    unsaid = client.post(path, data={"token": token, "count": "12"})
    assert (unsaid.status_code, "Say why" in unsaid.text) == (422, True)
    # One more by then: nothing is sent, and the new number is shown.
    programme.line.instead = refuse
    programme.signs_up("late", "ada")
    programme.services.drain()
    programme.line.mend()
    stale = client.post(path, data={"token": token, "count": "12", "why": "mended"})
    assert stale.status_code == 409
    assert "It is 13 by now." in stale.text
    token = token_in(stale.text, "/failed/retry")
    assert (
        client.post(path, data={"token": token, "count": "13", "why": "mended"}).status_code == 303
    )
    programme.services.drain()
    assert "Nothing failed from 3 Dec to 1 Jan. Nothing ever did" in programme.read("/failed")


def test_where_nothing_failed_lately_the_last_that_did_is_named(programme: Programme) -> None:
    programme.line.instead = refuse
    programme.signs_up("41", "ada")
    programme.services.drain()
    programme.after(days=40)
    said = programme.read("/failed")
    assert "The last that did was recorded 1 Jan, 00:00 : Sign-up , number 1." in said


def test_one_is_sent_again_from_its_own_page(programme: Programme) -> None:
    programme.line.instead = refuse
    programme.signs_up("7", "ada")
    programme.services.drain()
    programme.line.mend()
    client = programme.client()
    token = token_in(client.get("/partners/conversions/1").text, "/conversions/1/retry")
    assert client.post("/partners/conversions/1/retry", data={"token": token}).status_code == 303
    programme.services.drain()
    assert "accepted it" in programme.read("/conversions/1")


def test_a_conversion_says_what_is_sent_and_cuts_a_person_for_who_may_only_look(
    programme: Programme,
) -> None:
    programme.signs_up("8", "ada", email="ada@example.com", name="Ada")
    before = programme.read("/conversions/1")
    assert "What would be sent POST" in before
    programme.services.drain()
    acts, looks = (programme.read("/conversions/1", who) for who in ("acts", "looks"))
    assert "/conversion/xid Fields customer_key, email, name, sub_ids, xid" in acts
    assert '"email": "ada@example.com"' in acts
    assert ('"email": "a...@example.com"' in looks, '"name": "A..."' in looks) == (True, True)
    assert "ada@example.com" not in looks
    assert "Bearer" not in acts


def test_a_customer_says_which_click_their_address_was_bound_to(programme: Programme) -> None:
    click = Click(click_id="in-the-mail", at=programme.clock.now(), partner_key="ada")
    who, found = identities("ada@example.com", None), Attribution(click, Reason.COOKIE)
    programme.services.bindings.bind_alone(who, found, programme.clock.now(), bool)
    programme.signs_up("9", reason=Reason.OUTSIDE_REQUEST, email="ada@example.com")
    said = programme.read("/customer?key=9")
    assert "Bound to a click in-the-mail of Ada & Co Unproved" in said
    explained = cli_runner(programme.app).invoke(s2s, ["explain", "9"]).stdout
    assert "Bound to click in-the-mail: unproved." in explained


def test_a_customer_whose_clicks_window_had_closed_is_shown_by_it(programme: Programme) -> None:
    late = Click(click_id="too-late", at=programme.clock.now(), partner_key="ada")
    programme.clock.advance(days=91)
    found = Attribution(None, Reason.EXPIRED, touches=(late,))
    assert programme.services.recorder.alone(Signup(customer_key="10"), found)
    said = programme.read("/customer?key=10")
    assert "click too-late Not credited: its window had closed." in said
    assert "It counted until 1 Apr, 00:00: the sign-up came 1 day later." in said


def test_a_window_of_hours_is_told_in_hours(tmp_path: Path, sqlite_url: str) -> None:
    with closing(Programme(tmp_path, sqlite_url, S2S_WINDOW=timedelta(hours=12))) as programme:
        programme.signs_up("11", reason=Reason.EXPIRED)
        assert "A click counts for 12 hours (S2S_WINDOW)" in programme.read("/customer?key=11")
