"""A click that comes back with the state of a log-in: another site's form brings no cookie."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import request

from flask_s2s.capture.token import TokenSigner
from tests.capture.sites import SECRET, Answer, MakeSite, Site, cookie_of

POSTED: dict[str, Any] = {
    "method": "POST",
    "HTTP_ORIGIN": "https://idp.example",
    "HTTP_REFERER": "https://idp.example/",
    "HTTP_SEC_FETCH_SITE": "cross-site",
    "HTTP_SEC_FETCH_DEST": "document",
    "HTTP_SEC_FETCH_MODE": "navigate",
}


def with_log_in(site: Site) -> Site:
    """Let the site have a log-in: what leaves with `own`, and a return that signs somebody up."""
    site.app.add_url_rule("/leave", view_func=lambda: site.s2s.state(request.args.get("own", "")))

    @site.app.post("/back")
    def back() -> str:
        own = site.s2s.from_state(request.args.get("state"))
        delivery = site.s2s.track_signup(customer_key=request.args["key"])
        assert delivery
        click = delivery.click.click_id if delivery.click else None
        return f"{own} {delivery.reason} {click}"

    return site


@pytest.fixture
def login(make_site: MakeSite) -> Site:
    return with_log_in(make_site())


def left(site: Site, own: str = "nonce", click: str = "aBc") -> str:
    """The state with which a visitor leaves."""
    cookie = cookie_of(site.visit(f"ps_xid={click}"))
    answer = site.visit(f"own={own}", path="/leave", cookie=cookie)
    assert answer.values("Cache-Control") == ["private, no-store"]
    return answer.body.decode()


def back(site: Site, state: str, key: str = "42", **said: Any) -> str:
    answer: Answer = site.visit(f"key={key}&state={state}", path="/back", **{**POSTED, **said})
    assert answer.status == "200 OK"
    return answer.body.decode()


def test_a_sign_up_that_is_posted_back_is_credited(login: Site) -> None:
    assert back(login, left(login)) == "nonce state aBc"


def test_the_sites_own_state_comes_back_as_it_was(login: Site) -> None:
    for own in ("", "a.b-c_d~e", "x~s2s~y", "~s2s~"):
        assert back(login, left(login, own), key=f"{len(own)}").partition(" ")[0] == own


def test_without_a_click_the_state_is_the_sites_own_alone(login: Site) -> None:
    answer = login.visit("own=nonce", path="/leave")
    assert answer.body == b"nonce"
    assert answer.values("Cache-Control") == []
    assert back(login, "nonce") == "nonce no_click None"
    answer = login.visit("key=43", path="/back", **POSTED)
    assert answer.body == b" no_click None"


def test_what_the_browser_presents_comes_first(login: Site) -> None:
    state = left(login)
    newer = cookie_of(login.visit("ps_xid=newer"))
    assert back(login, state, cookie=newer) == "nonce cookie newer"


def test_a_state_is_good_for_two_hours_and_one_customer(login: Site) -> None:
    state = left(login)
    assert back(login, state) == "nonce state aBc"
    assert back(login, state) == "nonce state aBc"
    assert back(login, state, key="43") == "nonce token_used None"
    state = left(login)
    login.clock.advance(hours=2, seconds=1)
    assert back(login, state, key="44") == "nonce no_click None"


def test_a_strange_state_credits_nobody(login: Site) -> None:
    state = left(login)
    token = state.rpartition("~")[2]
    carrying = TokenSigner([SECRET], login.services.settings.window)
    click = login.load(login.visit("ps_xid=aBc"))
    assert click is not None
    of_an_address = carrying.dumps(click, login.clock.now(), b"x" * 9)
    for number, strange in enumerate((token[:-1], token[1:], "", of_an_address, "%00", "x" * 9999)):
        assert back(login, f"nonce~s2s~{strange}", key=f"n{number}") == "nonce no_click None"


def test_a_state_is_no_token_of_an_address(login: Site) -> None:
    token = left(login).rpartition("~")[2]
    before = f"http://www.shop.example/page?s2s_xid={token}"
    assert login.click_seen(HTTP_REFERER=before) is None


def test_consent_that_was_given_holds_until_it_is_denied(make_site: MakeSite) -> None:
    """The answer is in a cookie, which does not come with a form of another site."""
    said = {"now": "granted"}
    login = with_log_in(make_site(S2S_CONSENT=lambda environ: said["now"]))
    state = left(login)
    said["now"] = "pending"
    assert back(login, state) == "nonce state aBc"
    said["now"] = "denied"
    assert back(login, state, key="43") == "nonce consent_denied None"
    said["now"] = "pending"
    answer = login.visit("own=nonce", path="/leave", cookie="s2s=x")
    assert answer.body == b"nonce"


def test_no_log_has_the_state(login: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        state = left(login)
        back(login, state)
    assert state.rpartition("~")[2] not in caplog.text
