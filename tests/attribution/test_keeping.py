"""Bindings, spent handles and identity keys in the long run, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest
from click.testing import Result

from flask_s2s import Click
from flask_s2s.capture.attribution import Attribution, Reason
from flask_s2s.capture.identity import identities
from flask_s2s.cli import s2s as commands
from flask_s2s.meta import IDENTITY_KEY
from tests.attribution.conftest import MakeSite
from tests.attribution.site import Browser, Site


def run(site: Site, *arguments: str) -> Result:
    result = site.app.test_cli_runner().invoke(commands, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def keys_of(site: Site) -> dict[str, str]:
    named = {row["name"]: row["value"] for row in site.rows("meta")}
    return {name: value for name, value in named.items() if name.startswith(IDENTITY_KEY)}


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
    expected = "a" if policy == "first" else "b"
    assert [(row["click_id"], row["click"]["click_id"]) for row in rows] == [(expected,) * 2] * 2
    assert Browser(site).sign_up("7")[1:] == ("identity", expected)
    site.clock.advance(days=91)
    assert Browser(site).sign_up("8", "ada@shop.example")[1:] == ("expired", None)
    late.land("ps_xid=c")
    late.lead(email="ada@shop.example")
    assert Browser(site).sign_up("9", "ada@shop.example")[1:] == ("identity", "c")


def test_on_each_database_a_rotated_key_loses_nothing(
    make_site: MakeSite, database_url: str
) -> None:
    site = make_site(database_url)
    browser = Browser(site)
    browser.land("ps_xid=a")
    browser.lead(email="ada@shop.example")
    run(site, "rotate-identity-key")
    assert Browser(site).sign_up("1", "ada@shop.example")[1:] == ("identity", "a")


def test_many_at_once_bind_one_identity_once(make_site: MakeSite, database_url: str) -> None:
    site = make_site(database_url)
    now, together = site.clock.now(), Barrier(8)
    who = identities("ada@shop.example", "7")
    bound: list[bool] = []

    def bind(number: int) -> None:
        click = Click(click_id=f"click{number}", at=now)
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
    assert len(site.rows("binding")) == 2


def test_prune_deletes_bindings_past_their_window_and_handles_past_their_day(
    make_site: MakeSite, database_url: str
) -> None:
    site = make_site(database_url)
    without_cookies, browser = Browser(site, keeps_cookies=False), Browser(site)
    handle = without_cookies.land("ps_xid=a")
    without_cookies.lead(handle, email="old@shop.example")
    without_cookies.sign_up("1", handle=handle)
    site.clock.advance(days=50)
    browser.land("ps_xid=b")
    browser.lead(email="new@shop.example")
    site.clock.advance(days=40)
    handle = without_cookies.land("ps_xid=c")
    without_cookies.sign_up("2", handle=handle)
    site.clock.advance(seconds=1)
    assert (len(site.rows("binding")), len(site.rows("handle"))) == (2, 2)

    assert "1 bindings" in run(site, "prune", "--yes").output

    assert [row["click_id"] for row in site.rows("binding")] == ["b"]
    assert [row["at"] for row in site.rows("handle")] == [row["created_at"] for row in site.rows()][
        1:
    ]
    site.clock.advance(days=1)
    run(site, "prune", "--yes")
    assert site.rows("handle") == []


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


def test_a_key_goes_once_no_binding_can_be_under_it(site: Site, browser: Browser) -> None:
    (first,) = keys_of(site)
    site.clock.advance(days=1)
    run(site, "rotate-identity-key")
    site.clock.advance(days=91)
    run(site, "prune", "--yes")
    assert first in keys_of(site), "a request may have written under it a moment after"
    site.clock.advance(seconds=1)
    run(site, "prune", "--yes")
    (second,) = keys_of(site)
    assert second != first
    browser.land("ps_xid=a")
    browser.lead(email="ada@shop.example")
    assert site.rows("binding")[0]["key_id"] == second.removeprefix(IDENTITY_KEY)


@pytest.fixture
def new(tmp_path: Path, database_url: str) -> Iterator[Site]:
    """The site in its new database."""
    site = Site(tmp_path / "new", database_url)
    yield site
    site.close()


def test_move_to_carries_what_attributes(site: Site, new: Site, database_url: str) -> None:
    browser, without_cookies = Browser(site), Browser(site, keeps_cookies=False)
    browser.land("ps_xid=old")
    browser.lead(email="old@shop.example")
    run(site, "rotate-identity-key")
    browser.land("ps_xid=bound")
    browser.lead(email="ada@shop.example")
    handle = without_cookies.land("ps_xid=carried")
    without_cookies.sign_up("1", handle=handle)
    ours = keys_of(site)

    for _ in range(2):
        run(site, "move-to", database_url, "--yes")

    assert ours.items() <= keys_of(new).items()
    assert [row["identity"] for row in new.rows("binding")] == [
        row["identity"] for row in site.rows("binding")
    ]
    assert Browser(new).sign_up("2", "old@shop.example")[1:] == ("identity", "old")
    assert Browser(new).sign_up("3", "ada@shop.example")[1:] == ("identity", "bound")
    without_cookies.site = new
    assert without_cookies.sign_up("4", handle=handle)[1:] == ("handle_used", None)
    assert without_cookies.sign_up("1", handle=handle)[1:] == ("carried", "carried")
