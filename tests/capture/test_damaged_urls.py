"""Landing URLs as mail programs, link tools and people leave them: read as they were meant."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.capture.sites import Site, cookie_of

DAMAGED = Path(__file__).parents[1] / "data" / "damaged_urls.tsv"
FIELD = Path(__file__).parents[1] / "data" / "landing_urls.tsv"
CLICK_ID = "anFVmvcPPYWCsS"

PLACEHOLDERS = [
    "undefined",
    "null",
    "None",
    "NaN",
    "false",
    "",
    "-",
    "CLICK_ID",
    "click_id",
    "clickid",
    "YOUR_CLICK_ID",
    "__CLICK_ID__",
    "%7Bclick_id%7D",
    "%7B%7Bps_xid%7D%7D",
    "{click_id}",
    "[CLICKID]",
    "%5BCLICKID%5D",
    "[AffiliateClick]",
    "{partnerclick}",
    "<click-id>",
    "$click_id",
    "${click_id}",
    "%25%25CLICKID%25%25",
    "%24%7Bxid%7D",
    "*|CLICKID|*",
    "#clickid#",
    "[object%20Object]",
    "%20undefined%20",
    "null.",
    "0",
    "SUBID",
    "{{fbclid}}",
    "undefinedundefined",
    "undefined-null",
    "none,none",
    "%257Bclick_id%257D",
    "{click_id",
    "REPLACE_WITH_CLICK_ID",
    "CLICK_ID_MACRO",
    "ps_xid_value",
    "blank",
    "[REDACTED]",
    "REDACTED",
    "0000",
    "xxxxxxxxxxxxxx",
    "XXXXXXXXXXXX",
]
#: The ID of nobody, or nothing that anybody could be sure of.
LEFT_ALONE = [
    "ps_xid=anFVmvcPPYWCs!",
    "ps_xid=anFVmvc%20PPYWCsS",
    "ps_xid=anFVmvcPPYWCsSx!",
    "ps_xid=abc%20",
    "PS_XID=abc",
    "next=/pricing%3Fps_xid%3DanFVmvcPPYWCsS",
    "url=https%3A%2F%2Fother.example%2F%3Fps_xid%3DanFVmvcPPYWCsS",
    "url=https://other.example/?ps_xid=anFVmvcPPYWCsS",
    "my_ps_xid=anFVmvcPPYWCsS",
    "ps_xid_old=anFVmvcPPYWCsS",
    "ps_xid[x]=anFVmvcPPYWCsS",
    "tax-gsxid=anFVmvcPPYWCsS",
    "q=ps_xid: anFVmvcPPYWCsS",
    "q=ps_xid%3A+anFVmvcPPYWCsS",
    "q=where+is+gsxid%253AanFVmvcPPYWCsS",
    "sort=new&q=ps_xid:anFVmvcPPYWCsS",
]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("row", read(DAMAGED), ids=lambda row: row["what"])
def test_a_damaged_link_is_read_as_it_was_meant(site: Site, row: dict[str, str]) -> None:
    click = site.load(site.visit(row["query"]))
    assert click is not None
    assert click.click_id == row["click_id"]
    assert [stored["click_id"] for stored in site.rows()] == [row["click_id"]]


@pytest.mark.parametrize("row", read(FIELD), ids=lambda row: row["click_id"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda query: query.replace("&", "&amp;"),
        lambda query: query.replace("&", "&amp;amp;"),
        lambda query: query.replace("%", "%25").replace("&", "%26").replace("=", "%3D"),
        lambda query: query.replace("&", "?"),
        lambda query: query + ".",
        lambda query: query + "%20",
        lambda query: query.replace("ps_xid", "PS_XID").replace("gsxid", "GSXID"),
    ],
    ids=["escaped", "escaped twice", "encoded", "question marks", "stop", "space", "capitals"],
)
def test_whole_links_of_the_field_survive_it(
    site: Site, row: dict[str, str], damage: Callable[[str], str]
) -> None:
    click = site.load(site.visit(damage(row["url"].partition("?")[2])))
    assert click is not None
    assert click.click_id == row["click_id"]


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_a_placeholder_is_no_click_is_counted_and_replaces_none(
    site: Site, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    good = cookie_of(site.visit(f"ps_xid={CLICK_ID}"))
    with caplog.at_level(logging.WARNING, logger="flask_s2s"):
        for name in ("ps_xid", "gsxid", "PS_XID"):
            answer = site.visit(f"{name}={value}", cookie=good)
            assert answer.cookie is None
            assert answer.values("Cache-Control") == []
    assert site.click_seen(cookie=good)[0] == CLICK_ID
    assert len(site.rows()) == 1
    assert site.services.visitors.ignored == {"placeholder": 3}
    assert [r.action for r in caplog.records] == ["click.placeholder"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("query", LEFT_ALONE)
def test_what_nobody_could_be_sure_of_is_left_alone(site: Site, query: str) -> None:
    assert site.visit(query).cookie is None
    assert site.rows() == []


def test_a_longer_id_keeps_every_character(site: Site) -> None:
    """An ID is opaque: what has no published form is never cut to one."""
    for longer in (f"{CLICK_ID}x", f"{CLICK_ID}-x", f"{CLICK_ID}.x", "short.", "a.B_c~d-9."):
        click = site.load(site.visit(f"ps_xid={longer}"))
        assert click is not None
        assert click.click_id == longer


def test_sub_ids_are_never_repaired(site: Site) -> None:
    query = f"ps_xid={CLICK_ID}%20&sid=%20a%E2%80%8Bb.&sid1=%2541&amp;sid2=c&SID3=d&sid4=undefined"
    click = site.load(site.visit(query))
    assert click is not None
    assert click.click_id == CLICK_ID
    assert click.sub_ids == (" a\u200bb.", "%41", "undefined")


def test_a_script_that_kept_nothing_is_no_click(site: Site) -> None:
    assert site.click_seen(cookie="ps_xid=undefined; gsxid=null") is None
    assert site.click_seen(cookie=f"ps_xid=undefined; gsxid={CLICK_ID}")[0] == CLICK_ID


def test_a_form_of_a_damaged_landing_is_credited(site: Site) -> None:
    """No cookie comes back: the address of the page before is read by the same rules."""
    said = {"HTTP_REFERER": f"http://www.shop.example/?a=b&amp;PS_XID={CLICK_ID}."}
    assert site.click_seen(**said)[0] == CLICK_ID
