"""Bindings, spent tokens and identity keys in the long run, on each database."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
from click.testing import Result

from flask_s2s import Click
from flask_s2s.cli import s2s as commands
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.rules.identity import identities
from tests.attribution.conftest import MakeSite
from tests.attribution.site import Browser, Site


def run(site: Site, *arguments: str) -> Result:
    result = site.app.test_cli_runner().invoke(commands, list(arguments))
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("policy", ["last", "first"])
def test_on_each_database_the_policy_decides(
    make_site: MakeSite, database_url: str, policy: str
) -> None:
    site = make_site(database_url, S2S_ATTRIBUTION=policy)
    early, late = Browser(site), Browser(site)
    early.land("ps_xid=a")
    site.clock.advance(days=1)
    late.land("ps_xid=b")
    for browser in (early, late, early):
        assert browser.lead(email="ada@shop.example", user_id="7") is True

    rows = site.rows("binding")
    expected, other = ("a", "b") if policy == "first" else ("b", "a")
    assert sorted(row["click_id"] for row in rows) == ["a", "a", "b", "b"]
    assert Browser(site).sign_up("7")[1:] == ("identity", expected)
    assert [touch["click_id"] for touch in site.row_of("7")["touches"]] == [other]
    site.clock.advance(days=91)
    assert Browser(site).sign_up("8", "ada@shop.example")[1:] == ("expired", None)
    late.land("ps_xid=c")
    late.lead(email="ada@shop.example")
    assert Browser(site).sign_up("9", "ada@shop.example")[1:] == ("identity", "c")


def test_many_at_once_bind_one_identity_once_for_each_click(
    make_site: MakeSite, database_url: str
) -> None:
    site = make_site(database_url)
    now, together = site.clock.now(), Barrier(8)
    who = identities("ada@shop.example", "7")
    bound: list[bool] = []

    def bind(number: int) -> None:
        click = Click(click_id=f"click{number % 4}", at=now)
        found = Attribution(click, Reason.COOKIE)
        together.wait()
        bound.append(
            site.services.bindings.bind_alone(who[:: 1 if number % 2 else -1], found, now, bool)
        )

    threads = [Thread(target=bind, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bound == [True] * 8
    assert len(site.rows("binding")) == 8


def test_many_at_once_bind_no_more_than_count(make_site: MakeSite, database_url: str) -> None:
    site = make_site(database_url)
    now, together = site.clock.now(), Barrier(8)
    found = Attribution(Click(click_id="collector", at=now), Reason.COOKIE)

    def bind(number: int) -> None:
        who = identities(f"stranger{number}@shop.example", None)
        together.wait()
        site.services.bindings.bind_alone(who, found, now, bool)

    threads = [Thread(target=bind, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    signed = [Browser(site).sign_up(str(n), f"stranger{n}@shop.example")[1] for n in range(8)]
    assert sorted(signed) == ["identity"] * 3 + ["no_click"] * 5


def test_prune_deletes_bindings_past_their_window_and_tokens_past_their_day(
    make_site: MakeSite, database_url: str
) -> None:
    site = make_site(database_url)
    without_cookies, browser = Browser(site, keeps_cookies=False), Browser(site)
    page = without_cookies.browse(without_cookies.land("ps_xid=a"))
    without_cookies.lead(page, email="old@shop.example")
    without_cookies.sign_up("1", page=page)
    site.clock.advance(days=50)
    browser.land("ps_xid=b")
    browser.lead(email="new@shop.example")
    site.clock.advance(days=40)
    page = without_cookies.browse(without_cookies.land("ps_xid=c"))
    without_cookies.sign_up("2", page=page)
    site.clock.advance(seconds=1)
    assert (len(site.rows("binding")), len(site.rows("click_token"))) == (2, 2)

    assert "1 bindings" in run(site, "prune", "--yes").output

    assert [row["click_id"] for row in site.rows("binding")] == ["b"]
    assert [row["at"] for row in site.rows("click_token")] == [
        row["created_at"] for row in site.rows()
    ][1:]
    site.clock.advance(days=1)
    run(site, "prune", "--yes")
    assert site.rows("click_token") == []


def test_prune_honours_each_networks_window(make_site: MakeSite) -> None:
    site = make_site(S2S_WINDOW={"partnerstack": 10})
    browser = Browser(site)
    browser.land("ps_xid=a")
    browser.lead(email="ada@shop.example")
    site.clock.advance(days=10)
    run(site, "prune", "--yes")
    assert len(site.rows("binding")) == 1
    site.clock.advance(seconds=1)
    run(site, "prune", "--yes")
    assert site.rows("binding") == []


def test_prune_empties_the_history_of_an_old_sign_up(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=a")
    browser.land("ps_xid=b")
    browser.sign_up("1")
    assert site.row_of("1")["touches"]
    site.services.drain()
    site.clock.advance(days=401)
    run(site, "prune", "--yes")
    assert [row["touches"] for row in site.rows()] == [None]
