"""The disk: a click row has few bytes, a day has few rows, and a worker deletes what is past its window."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from flask_s2s.click import within
from tests.attribution.conftest import MakeSite, make_site  # noqa: F401 - a fixture
from tests.attribution.site import Browser, Site

#: Four bytes of UTF-8, and twelve in JSON.
WIDE = "%F0%9F%98%80"


def size_of(site: Site) -> int:
    folder = Path(str(site.services.storage.engine().url.database)).parent
    site.close()
    return sum(one.stat().st_size for one in folder.iterdir())


def test_a_row_has_few_bytes_however_long_the_link_is(make_site: MakeSite) -> None:  # noqa: F811
    site = make_site(S2S_CLICK_RATE=0)
    empty = size_of(site)
    bounded = make_site(S2S_CLICK_RATE=10_000)
    host, partner = f"{'a.' * 120}example", b64encode(b"p" * 128).decode()
    for number in range(200):
        sub_ids = "".join(f"&sid{k}={WIDE * 255}" for k in range(10))
        click_id = f"{number:06}{'a' * 506}"
        utm = "".join(f"&utm_{k}={WIDE * 80}" for k in range(10))
        landing = f"/{'p' * 600}?ps_xid={click_id}&pscd={host}&gspk={partner}{sub_ids}{utm}"
        bounded.app.test_client().get(landing, headers={"Referer": f"https://{host}/"})
    assert len(bounded.rows("click")) == 200
    longest = max(len(json.dumps(row["sub_ids"])) for row in bounded.rows("click"))
    assert longest <= 1536
    # The ID stands in the row and in its index.
    assert (size_of(bounded) - empty) / 200 < 5000


def test_the_first_sub_ids_stay(make_site: MakeSite) -> None:  # noqa: F811
    site = make_site()
    Browser(site).land("ps_xid=abc&" + "&".join(f"sid{k}={str(k) * 250}" for k in range(1, 10)))
    (row,) = site.rows("click")
    assert row["sub_ids"] == [str(k) * 250 for k in range(1, 7)]
    click = site.services.touches.find("abc")
    assert click is not None
    assert within(click, 1536) == click


def test_a_day_has_so_many_rows_in_all_processes(
    make_site: MakeSite,  # noqa: F811
    database_url: str,
) -> None:
    first = make_site(database_url, S2S_CLICK_DAY=5)
    second = make_site(database_url, S2S_CLICK_DAY=5)
    browsers = []
    for number in range(8):
        browser = Browser(second if number == 7 else first)
        browser.land(f"ps_xid=click{number}")
        browsers.append(browser)
    assert len(first.rows("click")) == 5
    assert first.services.touches.skipped["day"] == 2
    assert second.services.touches.skipped["day"] == 1
    assert browsers[7].sign_up("1")[1:] == ("cookie", "click7"), "the cookie has it all the same"
    told = first.app.test_cli_runner().invoke(args=["s2s", "status"])
    assert told.exit_code == 1
    assert "5 of 5 rows" in told.output
    assert "S2S_CLICK_DAY is 5" in told.output

    first.clock.advance(days=1)
    Browser(first).land("ps_xid=tomorrow")
    assert len(first.rows("click")) == 6


@pytest.mark.parametrize("days", [90, 91])
def test_a_worker_deletes_what_is_past_its_window(
    make_site: MakeSite,  # noqa: F811
    database_url: str,
    days: int,
) -> None:
    site = make_site(database_url)
    browser = Browser(site)
    browser.land("ps_xid=abc")
    browser.lead(email="ada@shop.example")
    browser.sign_up("1")
    site.services.drain()
    site.clock.advance(days=days)
    site.services.drain()
    kept = 1 if days == 90 else 0
    assert [len(site.rows(table)) for table in ("click", "binding")] == [kept, kept]
    assert site.row_of("1")["click_id"] == "abc", "a delivery keeps its own"


def test_a_worker_deletes_much_in_small_batches(make_site: MakeSite) -> None:  # noqa: F811
    site = make_site()
    Browser(site).land("ps_xid=abc")
    storage = site.services.storage
    clicks, at = storage.tables.click, site.clock.now()
    with storage.engine().begin() as connection:
        row = dict(connection.execute(select(clicks)).mappings().one())
        del row["id"]
        many = [{**row, "click_id": f"click{number}", "at": at} for number in range(4999)]
        connection.execute(insert(clicks), many)
    site.clock.advance(days=91)
    left = []
    while site.rows("click"):
        site.services.drain()
        site.clock.advance(seconds=20)
        left.append(len(site.rows("click")))
    assert left == [3000, 1000, 0]
