"""A collector of strangers' addresses is credited for few of them, and is seen."""

from __future__ import annotations

import base64
import logging
from contextlib import ExitStack

import pytest
from click.testing import Result
from sqlalchemy import event

from flask_s2s import Click
from flask_s2s.cli import s2s as commands
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.rules.identity import identities
from tests.attribution.conftest import MakeSite
from tests.attribution.site import Browser, Site

#: By hand a thousand; these show the same.
STRANGERS = 45


def run(site: Site, *arguments: str) -> Result:
    return site.app.test_cli_runner().invoke(commands, list(arguments))


def address(number: int) -> str:
    return f"stranger{number}@shop.example"


def bind(site: Site, click_id: str, email: str, partner: str | None = None) -> None:
    click = Click(click_id=click_id, partner_key=partner, at=site.clock.now())
    who, found = identities(email, None), Attribution(click, Reason.COOKIE)
    site.services.bindings.bind_alone(who, found, site.clock.now(), bool)


def credited(site: Site, strangers: int = STRANGERS) -> list[int]:
    """Let the strangers sign up by themselves; return which of them somebody is credited for."""
    reasons = [Browser(site).sign_up(str(n), address(n))[1] for n in range(strangers)]
    return [number for number, reason in enumerate(reasons) if reason == "identity"]


def test_one_click_credits_three_of_those_whom_it_was_bound_to(
    make_site: MakeSite, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(database_url)
    browser = Browser(site)
    browser.land("ps_xid=collector")
    with caplog.at_level(logging.WARNING):
        counted = [browser.lead(email=address(number)) for number in range(STRANGERS)]

    assert counted == [True] * 3 + [False] * (STRANGERS - 3)
    assert credited(site) == [0, 1, 2]
    assert caplog.text.count("s2s.identity.collected") == 1
    assert "stranger" not in caplog.text
    assert len(site.rows("binding")) == 30, "far beyond the limit nothing is kept"
    status = run(site, "status")
    assert status.exit_code == 1
    assert "30 addresses or IDs were bound to click collector, 3 count" in status.output
    assert run(site, "block", "--click", "collector").exit_code == 0
    assert "collector" not in run(site, "status").output


@pytest.mark.parametrize("partner", ["partner-1", None])
def test_the_clicks_of_one_partner_credit_thirty_a_day(
    make_site: MakeSite, database_url: str, partner: str | None
) -> None:
    site = make_site(database_url)
    for number in range(STRANGERS):
        bind(site, f"click{number}", address(number), partner)
    site.clock.advance(days=1)
    bind(site, "tomorrow", address(STRANGERS), partner)

    assert credited(site, STRANGERS + 1) == [*range(30), STRANGERS]
    named = "links of partner partner-1" if partner else "links that name no partner"
    assert f"45 addresses or IDs were bound by {named}" in run(site, "status").output


@pytest.mark.service
@pytest.mark.parametrize("server", ["postgresql_url", "mariadb_url"])
@pytest.mark.parametrize(("clicks", "most"), [(["collector"] * 8, 3), (list("abcdefgh" * 10), 30)])
def test_of_what_open_transactions_bind_at_once_no_moment_counts_more(
    make_site: MakeSite,
    request: pytest.FixtureRequest,
    server: str,
    clicks: list[str],
    most: int,
) -> None:
    """The worst order: those that began last end first. Then other ones count, and never more."""
    site = make_site(request.getfixturevalue(server))
    bindings, now = site.services.bindings, site.clock.now()
    who = [identities(address(number), None) for number in range(len(clicks))]

    def counting() -> list[int]:
        with site.services.storage.engine().connect() as connection:
            found = [bindings.of(connection, one, now) for one in who]
        return [number for number, bound in enumerate(found) if any(one.counts for one in bound)]

    with ExitStack() as open_ones:
        engine = site.services.storage.engine()
        first, last = (open_ones.enter_context(engine.connect()) for _ in range(2))
        half = len(clicks) // 2
        for number, click_id in enumerate(clicks):
            click = Click(click_id=f"{click_id}{number // 8 if most > 3 else ''}", at=now)
            found = Attribution(click, Reason.COOKIE)
            bindings.bind(first if number < half else last, who[number], found, now)
        assert counting() == [], "nothing counts before its transaction has ended"
        assert Browser(site).sign_up("early", address(0))[1] == "no_click"
        last.commit()
        assert counting() == [*range(half, half + most)]
        first.commit()
        assert counting() == [*range(most)]
    assert credited(site, most + 1) == [*range(most)]


def test_another_partner_is_not_limited_by_them(make_site: MakeSite) -> None:
    site = make_site()
    for number in range(31):
        bind(site, f"click{number}", address(number), "greedy")
    bind(site, "honest", address(31), "honest")
    assert credited(site, 32)[-1] == 31


def test_binding_again_changes_nothing(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=abc")
    for _ in range(5):
        assert browser.lead(email=address(0)) is True
    assert len(site.rows("binding")) == 1


@pytest.mark.parametrize("policy", ["last", "first"])
def test_what_is_proved_comes_before_what_a_stranger_typed(
    make_site: MakeSite, database_url: str, policy: str
) -> None:
    site = make_site(database_url, S2S_ATTRIBUTION=policy)
    early, honest, late = Browser(site), Browser(site), Browser(site)
    for browser, click_id in ((early, "early"), (honest, "honest"), (late, "late")):
        browser.land(f"ps_xid={click_id}")
        site.clock.advance(hours=1)
    early.lead(email=address(0))
    honest.lead(email=address(0), verified="yes")
    late.lead(email=address(0))

    assert Browser(site).sign_up("1", address(0))[1:] == ("identity", "honest")
    row = site.row_of("1")
    assert row["detail"] is None
    assert sorted(touch["click_id"] for touch in row["touches"]) == ["early", "late"]
    explained = run(site, "explain", "1").output
    assert "Bound to click honest: proved." in explained
    assert "Bound to click late: unproved." in explained
    assert "what is proved comes first" in explained


def test_what_was_typed_can_be_proved_later(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=abc")
    for number in range(4):
        browser.lead(email=address(number))
    browser.lead(email=address(3), verified="yes")
    assert credited(site, 4) == [0, 1, 2, 3]
    details = [site.row_of(str(number))["detail"] for number in range(4)]
    assert details == ["unproved"] * 3 + [None]


def test_that_nobody_proved_it_is_told_whatever_the_network_answers(
    site: Site, browser: Browser
) -> None:
    browser.land("ps_xid=abc")
    browser.lead(email=address(0))
    assert credited(site, 1) == [0]
    assert site.services.drain() == 1
    row = site.row_of("0")
    assert row["status"] == "delivered"
    assert row["detail"].startswith("unproved; ")
    assert "Last word: unproved; " in run(site, "explain", "0").output


def test_verified_binds_nothing_that_is_only_typed(make_site: MakeSite) -> None:
    site = make_site(S2S_IDENTIFY="verified")
    browser = Browser(site)
    browser.land("ps_xid=abc")
    assert browser.lead(email=address(0)) is False
    assert site.rows("binding") == []
    assert browser.lead(email=address(1), verified="yes") is True
    assert credited(site, 2) == [1]


def test_verified_does_not_count_what_was_typed_before(make_site: MakeSite) -> None:
    before = make_site()
    browser = Browser(before)
    browser.land("ps_xid=abc")
    browser.lead(email=address(0))
    assert credited(make_site(S2S_IDENTIFY="verified"), 1) == []


def test_explain_shows_a_victim_what_was_bound_to_them(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=collector")
    for number in range(5):
        browser.lead(user_id=str(number))
    assert Browser(site).sign_up("4")[1] == "no_click"
    explained = run(site, "explain", "4").output
    assert "Bound to click collector: unproved, and does not count" in explained


# -- blocks ---------------------------------------------------------------------------------------

KEY = base64.b64encode(b"badguy").decode()


@pytest.mark.parametrize(("option", "name"), [("--partner", "badguy"), ("--click", "Blocked123")])
def test_nobody_is_credited_to_what_is_blocked(
    make_site: MakeSite, database_url: str, option: str, name: str
) -> None:
    site = make_site(database_url)
    browser = Browser(site)
    browser.land(f"ps_xid=Blocked123&ps_partner_key={KEY}")
    assert run(site, "block", option, name, "--why", "coupons").exit_code == 0
    assert run(site, "block", option, name).exit_code == 1
    assert browser.sign_up("1")[1:] == ("blocked", None)
    assert name in run(site, "blocks").output
    assert "coupons" in run(site, "audit").output

    assert run(site, "unblock", option, name).exit_code == 0
    assert run(site, "unblock", option, name).exit_code == 1
    assert browser.sign_up("2")[1:] == ("cookie", "Blocked123")
    assert "Nothing is blocked" in run(site, "blocks").output


def test_a_blocked_binding_gives_way_to_an_honest_one(site: Site) -> None:
    bind(site, "honest", address(0), "honest")
    site.clock.advance(hours=1)
    bind(site, "later", address(0), "badguy")
    run(site, "block", "--partner", "badguy")
    assert Browser(site).sign_up("1", address(0))[1:] == ("identity", "honest")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--partner", "a", "--click", "b"),
        ("--partner", "a b"),
        ("--click", "a/b"),
        ("--partner", "a", "--network", "nobody"),
    ],
)
def test_what_cannot_be_blocked_is_a_usage_error(site: Site, arguments: tuple[str, ...]) -> None:
    assert run(site, "block", *arguments).exit_code == 2
    assert site.rows("block") == []


def test_a_binding_that_is_renewed_while_old_ones_are_deleted_stays(
    make_site: MakeSite, database_url: str
) -> None:
    site, person = make_site(database_url), "ada@shop.example"
    bind(site, "click1", person)
    site.clock.advance(days=91)

    renewed: list[str] = []

    def renew(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith("DELETE FROM s2s_binding") and not renewed:
            renewed.append(statement)
            bind(site, "click1", person)

    event.listen(site.services.storage.engine(), "before_cursor_execute", renew)
    site.services.supervisor.retention(site.clock.now()).sweep()
    assert renewed, "something was to be deleted"
    assert len(site.rows("binding")) == 1
