"""Every click that a customer came by: kept in the cookie, stored with the sign-up, explained."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta, timezone
from string import ascii_letters
from typing import Any

import pytest

from flask_s2s import Click
from flask_s2s.capture.cookie import MAX_RECORD, RecordSigner
from flask_s2s.cli import s2s as commands
from flask_s2s.click import Kept
from tests.attribution.conftest import MakeSite
from tests.attribution.site import Browser, Site

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
SIGNER = RecordSigner(["key"], timedelta(days=90))


def clicks(*ids: str) -> tuple[Click, ...]:
    return tuple(Click(click_id=one, at=NOW - timedelta(days=n)) for n, one in enumerate(ids, 1))


def test_a_record_keeps_the_last_five() -> None:
    click = Click(click_id="now", sub_ids=("x",), at=NOW)
    earlier = clicks("a", "b", "c", "d", "e", "f")
    assert SIGNER.read(SIGNER.dumps(click, earlier), NOW) == Kept(click, earlier[:5])
    assert SIGNER.read(SIGNER.dumps(click), NOW) == Kept(click, ())
    assert SIGNER.dumps(click, ()) == SIGNER.dumps(click)


def test_the_oldest_are_left_out_first_and_sub_ids_after_all_of_them() -> None:
    # Nothing that a record could be made shorter of.
    chance = random.Random(1)
    long = clicks(*("".join(chance.choices(ascii_letters, k=512)) for _ in range(5)))
    many = tuple("".join(chance.choices(ascii_letters, k=255)) for _ in range(10))
    every = [chr(number) for number in range(0x4E00, 0x9FA5)]
    wide = tuple("".join(chance.choices(every, k=255)) for _ in range(10))
    for sub_ids, touches in ((many[:1], 5), (many[:4], 4), (many, 1), (wide, 0)):
        click = Click(click_id="now", sub_ids=sub_ids, at=NOW)
        record = SIGNER.dumps(click, long)
        kept = SIGNER.read(record, NOW)
        assert len(record) <= MAX_RECORD
        assert isinstance(kept, Kept)
        assert kept.touches == long[:touches]
        assert kept.click.sub_ids == sub_ids[: len(kept.click.sub_ids)]
        assert (len(kept.click.sub_ids) == len(sub_ids)) == (touches > 0)


def test_a_sign_up_stores_what_the_visitor_came_by(site: Site, browser: Browser) -> None:
    for click_id in ("a", "b", "a", "c"):
        browser.land(f"ps_xid={click_id}")
        site.clock.advance(days=1)
    browser.sign_up("1")

    row = site.row_of("1")
    assert row["click_id"] == "c"
    assert [touch["click_id"] for touch in row["touches"]] == ["a", "b"]


def test_a_binding_brings_them_along(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=a")
    site.clock.advance(days=1)
    browser.land("ps_xid=b")
    browser.lead(email="ada@shop.example")
    Browser(site).sign_up("1", "ada@shop.example")
    assert [touch["click_id"] for touch in site.row_of("1")["touches"]] == ["a"]


@pytest.mark.parametrize("policy", ["last", "first"])
def test_explain_tells_each_click_and_which_one_counts(make_site: MakeSite, policy: str) -> None:
    site = make_site(S2S_ATTRIBUTION=policy)
    browser = Browser(site)
    browser.land("ps_xid=one&gspk=MTIz&sid=letter&sid1=may")
    site.clock.advance(days=1)
    browser.land("ps_xid=two&gspk=NDU2")
    browser.sign_up("1")
    runner = site.app.test_cli_runner()

    (told,) = json.loads(runner.invoke(commands, ["explain", "1", "--json"]).output)
    one: dict[str, Any] = {
        "network": "partnerstack",
        "click_id": "one",
        "at": "2026-01-01T00:00:00+00:00",
        "link_host": None,
    }
    landing: dict[str, Any] = {"page": "www.shop.example/", "utm": {}, "referrer": None}
    one |= {"partner_key": "123", "sub_ids": ["letter", "may"], "landing": landing}
    two: dict[str, Any] = {
        "network": "partnerstack",
        "click_id": "two",
        "at": "2026-01-02T00:00:00+00:00",
        "link_host": None,
    }
    two |= {"partner_key": "456", "sub_ids": [], "landing": landing}
    why = {"why": f"the {policy} click counts"}
    assert told["clicks"] == [
        {**two, "credited": policy == "last", **why},
        {**one, "credited": policy == "first", **why},
    ]
    said = runner.invoke(commands, ["explain", "1"]).output.splitlines()
    verdicts = [": credited, ", ": not credited, "]
    for click_id, verdict in zip(
        ("two", "one"), verdicts if policy == "last" else verdicts[::-1], strict=True
    ):
        (line,) = [line for line in said if f"Click {click_id} " in line]
        assert f"{verdict}the {policy} click counts." in line
    assert "partner 123, sub IDs letter, may" in "\n".join(said)


def test_explain_knows_a_click_whose_row_is_gone(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=one&gspk=MTIz")
    browser.land("ps_xid=two&gspk=NDU2")
    browser.sign_up("1")
    with site.services.storage.engine().begin() as connection:
        connection.execute(site.services.storage.tables.click.delete())
    runner = site.app.test_cli_runner()
    (told,) = json.loads(runner.invoke(commands, ["explain", "1", "--json"]).output)
    assert [(one["click_id"], one["partner_key"]) for one in told["clicks"]] == [
        ("two", "456"),
        ("one", None),
    ]


def test_without_a_click_there_is_no_history(site: Site, browser: Browser) -> None:
    browser.sign_up("1")
    runner = site.app.test_cli_runner()
    (told,) = json.loads(runner.invoke(commands, ["explain", "1", "--json"]).output)
    assert told["clicks"] == []
