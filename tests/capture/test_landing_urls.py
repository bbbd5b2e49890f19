"""A landing URL reads as the network wrote it, however it was encoded on its way."""

from __future__ import annotations

import base64
import csv
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.capture.sites import Site

FIELD_URLS = Path(__file__).parents[1] / "data" / "landing_urls.tsv"
LIMIT = 65536


def field_urls() -> list[dict[str, str]]:
    with FIELD_URLS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.parametrize("row", field_urls(), ids=lambda row: urlsplit(row["url"]).hostname)
def test_landing_urls_seen_in_the_field_read_as_expected(site: Site, row: dict[str, str]) -> None:
    url = urlsplit(row["url"])
    answer = site.visit(url.query, path=url.path, host=url.netloc, scheme=url.scheme)
    click = site.load(answer)
    assert click is not None
    assert click.click_id == row["click_id"]
    assert (click.partner_key or "") == row["partner_key"]
    assert list(click.sub_ids) == (row["sub_ids"].split(",") if row["sub_ids"] else [])
    assert (click.link_host or "") == row["link_host"]
    [stored] = site.rows()
    assert stored["click_id"] == row["click_id"]
    assert stored["partner_key"] == (row["partner_key"] or None)
    assert stored["sub_ids"] == list(click.sub_ids)
    assert stored["link_host"] == (row["link_host"] or None)


def key(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("query", "click_id", "partner_key"),
    [
        ("gsxid=old&gspk=MTIz", "old", "123"),
        ("gsxid=old&ps_xid=new", "new", None),
        ("ps_xid=no+spaces&gsxid=old", "old", None),
        ("ps_xid=a&ps_partner_key=MTIz&gspk=NDU2", "a", "123"),
        ("ps_xid=a&ps_partner_key=%2A%2A&gspk=NDU2", "a", "456"),
        # A repeated parameter: the first that is valid.
        ("ps_xid=&ps_xid=%20&ps_xid=first&ps_xid=second", "first", None),
        ("ps_xid=a&ps_partner_key=!&ps_partner_key=MTIz&ps_partner_key=NDU2", "a", "123"),
        # Encoded on the way.
        ("ps%5Fxid=abc&%70s_partner_key=MTIz", "abc", "123"),
        ("ps_xid=%61%62%63&ps_partner_key=MTIz%3D%3D", "abc", "123"),
        ("ps_xid=a.B_c~d-9", "a.B_c~d-9", None),
        # Padding: none, whole, too much, and the URL-safe alphabet.
        (f"ps_xid=a&gspk={key('xiaobeigu4914')}", "a", "xiaobeigu4914"),
        (f"ps_xid=a&gspk={key('xiaobeigu4914').rstrip('=')}", "a", "xiaobeigu4914"),
        (f"ps_xid=a&gspk={key('4868139')}====", "a", "4868139"),
        (f"ps_xid=a&gspk={key('a-b_c.d')}", "a", "a-b_c.d"),
        # A partner key that does not decode, or not to a partner key, is dropped.
        ("ps_xid=a&gspk=A", "a", None),
        ("ps_xid=a&gspk=%00%01", "a", None),
        (f"ps_xid=a&gspk={key('spaces in it')}", "a", None),
        (f"ps_xid=a&gspk={key('ключ')}", "a", None),
        (f"ps_xid=a&gspk={key('k' * 129)}", "a", None),
    ],
)
def test_click_and_partner_are_read(
    site: Site, query: str, click_id: str, partner_key: str | None
) -> None:
    click = site.load(site.visit(query))
    assert click is not None
    assert (click.click_id, click.partner_key) == (click_id, partner_key)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "xid",
        "ps_xid",
        "ps_xid=",
        "ps_xid=%20abc",
        "ps_xid=a%00b",
        "ps_xid=abc%0A",
        "ps_xid=abc%0D%0ASet-Cookie:%20x=y",
        "ps_xid=abc;sid=x",
        "ps_xid=a/b",
        "ps_xid=%FF%FE",
        "ps_xid=%E2%82%AC",
        "ps_xid=abc\xe9",
        "ps_xid=" + "x" * 513,
        "PS_XID=abc",
        "my_ps_xid=abc",
        "x=ps_xid&y=gsxid",
        "ps_xid[]=abc",
    ],
)
def test_what_is_no_click_id_changes_nothing(site: Site, query: str) -> None:
    answer = site.visit(query)
    assert answer.cookie is None
    assert answer.values("Cache-Control") == []
    assert site.rows() == []


def test_longest_click_id_is_kept_in_its_own_case(site: Site) -> None:
    longest = "aZ09" * 128
    click = site.load(site.visit(f"ps_xid={longest}"))
    assert click is not None
    assert click.click_id == longest
    assert site.rows()[0]["click_id"] == longest


@pytest.mark.parametrize(
    ("query", "sub_ids"),
    [
        ("sid2=c&sid=a&sid1=b", ("a", "b", "c")),
        ("sid10=ten&sid9=nine", ("nine", "ten")),
        ("sid=first&sid=second", ("first",)),
        ("sid=&sid=kept", ("kept",)),
        ("sid=%00&sid1=ok", ("ok",)),
        ("sid=a%0Ab&sid1=a%7Fb&sid2=a%C2%85b&sid3=a%E2%80%A8b&sid4=ok", ("ok",)),
        ("sid=%FF&sid1=ok", ("ok",)),
        ("sid=" + "é" * 256 + "&sid1=ok", ("ok",)),
        ("sid=" + "x" * 1_000_000, ()),
        ("sid=two+words&sid1=100%25", ("two words", "100%")),
        ("sid=;&sid1=a;b", (";", "a;b")),
        ("sidx=no&sid100=no&sid-1=no&sid%D9%A1=no", ()),
    ],
)
def test_sub_ids_keep_their_order_and_their_limits(
    site: Site, query: str, sub_ids: tuple[str, ...]
) -> None:
    raw = "".join(c if c.isascii() else quote(c) for c in query)
    click = site.load(site.visit(f"ps_xid=abc&{raw}"))
    assert click is not None
    assert click.sub_ids == sub_ids
    assert site.rows()[0]["sub_ids"] == list(sub_ids)


def test_at_most_ten_sub_ids_are_kept(site: Site) -> None:
    query = "&".join(f"sid{n}=v{n}" for n in reversed(range(1, 30)))
    click = site.load(site.visit(f"ps_xid=abc&{query}"))
    assert click is not None
    assert click.sub_ids == tuple(f"v{n}" for n in range(1, 11))


@pytest.mark.parametrize("text", ["日本語", "😀", "e\u0301", "\u202eabc", "\U0010ffff", "ÿ" * 255])
def test_any_unicode_comes_back_as_it_was_sent(site: Site, text: str) -> None:
    encoded = site.load(site.visit(f"ps_xid=a&sid={quote(text)}"))
    # Not percent-encoded: a server hands the bytes over as Latin-1.
    raw = site.load(site.visit(f"ps_xid=b&sid={text.encode().decode('latin-1')}"))
    assert encoded is not None
    assert raw is not None
    assert encoded.sub_ids == raw.sub_ids == (text,)
    assert [row["sub_ids"] for row in site.rows()] == [[text], [text]]


def test_the_cookie_and_the_row_hold_the_first_sub_ids_that_fit(site: Site) -> None:
    values = [
        "".join(chr(0x4E00 + (n * 7919 + k * 104729) % 20900) for k in range(255))
        for n in range(10)
    ]
    query = "&".join(f"sid{n}={quote(value)}" for n, value in enumerate(values))
    answer = site.visit(f"ps_xid=abc&{query}")
    click = site.load(answer)
    assert click is not None
    assert answer.record is not None
    assert len(answer.record) < 4096
    assert click.sub_ids == tuple(values[: len(click.sub_ids)])
    assert 0 < len(click.sub_ids) < 10
    stored = site.rows()[0]["sub_ids"]
    assert stored == values[: len(stored)]
    assert stored


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("go.shop.com", "go.shop.com"),
        ("GO.Shop.com%3A8080", "go.shop.com:8080"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("a%0D%0Ab", None),
        ("a b", None),
        ("-x.com", None),
        ("x" * 254, None),
        ("%3Cscript%3E", None),
    ],
)
def test_link_host_is_a_host_or_nothing(site: Site, host: str, expected: str | None) -> None:
    click = site.load(site.visit(f"ps_xid=abc&pscd={host}"))
    assert click is not None
    assert click.link_host == expected


@pytest.mark.parametrize("short", range(16))
def test_a_click_id_that_was_cut_at_the_limit_is_not_used(site: Site, short: int) -> None:
    click_id = "anFVmvcPPYWCsS"
    before = "x=" + "y" * (LIMIT - short - 3) + "&"
    click = site.load(site.visit(f"{before}ps_xid={click_id}"))
    assert click is None
    ahead = site.load(site.visit(f"ps_xid={click_id}&sid=kept&{before}sid1=lost"))
    assert ahead is not None
    assert (ahead.click_id, ahead.sub_ids) == (click_id, ("kept",))


def test_a_query_of_exactly_the_limit_is_read_whole(site: Site) -> None:
    end = "&ps_xid=anFVmvcPPYWCsS"
    query = "x=" + "y" * (LIMIT - 2 - len(end)) + end
    assert len(query) == LIMIT
    assert site.load(site.visit(query)) is not None
    assert site.load(site.visit("y" + query)) is None


def test_a_megabyte_in_any_parameter_leaves_the_page_alone(site: Site) -> None:
    big = "A" * 1_000_000
    for name in ("ps_xid", "gsxid", "gspk", "pscd", "sid", "other"):
        for query in (f"{name}={big}", f"{name}={big}&ps_xid=late", f"ps_xid=early&{name}={big}"):
            answer = site.visit(query)
            assert answer.status == "200 OK"
            click = site.load(answer)
            if click is not None:
                assert (click.click_id, click.sub_ids) == ("early", ())
