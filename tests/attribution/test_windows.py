"""S2S_WINDOW: one for all networks, or some networks' own."""

from __future__ import annotations

import pytest

from flask_s2s import ConfigError, Settings
from flask_s2s.cli import s2s as commands
from tests.attribution.conftest import MakeSite
from tests.attribution.site import ORIGIN, Browser, Site


def test_each_way_in_which_a_click_is_kept_honours_its_networks_window(
    make_site: MakeSite,
) -> None:
    site = make_site(S2S_WINDOW={"partnerstack": 30})
    browser = Browser(site)
    browser.land("ps_xid=abc")
    browser.lead(email="ada@shop.example")
    site.clock.advance(days=30)
    assert browser.sign_up("1")[1:] == ("cookie", "abc")
    assert Browser(site).sign_up("2", "ada@shop.example")[1:] == ("identity", "abc")
    site.clock.advance(seconds=1)
    assert browser.sign_up("3")[1:] == ("expired", None)
    assert Browser(site).sign_up("4", "ada@shop.example")[1:] == ("expired", None)


def test_a_token_honours_it_too(make_site: MakeSite) -> None:
    site = make_site(S2S_WINDOW={"partnerstack": 1 / 24})
    browser = Browser(site, keeps_cookies=False)
    page = browser.browse(browser.land("ps_xid=abc"))
    site.clock.advance(hours=1)
    assert browser.sign_up("1", page=page)[1:] == ("carried", "abc")
    site.clock.advance(seconds=1)
    assert browser.sign_up("2", page=page)[1] == "no_click"


def test_the_cookie_lives_as_long_as_its_click_counts(make_site: MakeSite) -> None:
    site = make_site(S2S_WINDOW={"partnerstack": 30})
    client = site.app.test_client(use_cookies=False)
    assert "Max-Age=2592000;" in client.get("/?ps_xid=abc").headers["Set-Cookie"]


def test_a_cookie_that_is_set_later_ends_no_later(site: Site) -> None:
    browser = Browser(site, keeps_cookies=False)
    page = browser.browse(browser.land("ps_xid=abc"))
    site.clock.advance(hours=2)
    answer = site.app.test_client(use_cookies=False).get(
        page,
        base_url=ORIGIN,
        headers={"Sec-Fetch-Site": "same-origin", "Referer": ORIGIN + page},
    )
    assert f"Max-Age={90 * 86400 - 7200};" in answer.headers["Set-Cookie"]


def test_a_deadline_is_of_the_networks_window(make_site: MakeSite) -> None:
    site = make_site(S2S_WINDOW={"partnerstack": 40}, S2S_GIVE_UP=1)
    browser = Browser(site)
    landed = site.clock.now()
    browser.land("ps_xid=abc")
    site.clock.advance(days=2)
    browser.sign_up("1")
    assert (site.row_of("1")["deadline_at"] - landed).days == 40


def test_a_network_that_there_is_none_of_is_refused(make_site: MakeSite) -> None:
    with pytest.raises(ConfigError, match="partnerstak") as caught:
        make_site(S2S_WINDOW={"partnerstak": 30})
    assert caught.value.key == "S2S_WINDOW"


def test_others_keep_the_default() -> None:
    settings = Settings.from_mapping({"SECRET_KEY": "x", "S2S_WINDOW": {"partnerstack": 30}})
    assert settings.window_of("partnerstack").days == 30
    assert settings.window_of("another").days == 90
    assert settings.longest_window.days == 90


def test_prune_keeps_what_the_longest_window_may_need(make_site: MakeSite) -> None:
    site = make_site(S2S_WINDOW={"partnerstack": 120})
    result = site.app.test_cli_runner().invoke(commands, ["prune", "--older-than", "100", "--yes"])
    assert result.exit_code == 2
    assert "120 days" in result.output
