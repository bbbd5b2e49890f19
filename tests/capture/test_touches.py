"""The touch history: one row for each click, in every kind of database."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column

from tests.capture.sites import MakeSite, Site, cookie_of, make_app, visit


@pytest.fixture
def database_site(database_url: str, make_site: MakeSite) -> Site:
    site = make_site(S2S_DATABASE_URI=database_url)
    site.services.storage.create()
    return site


def test_one_row_for_each_click(database_site: Site) -> None:
    site = database_site
    at = site.clock.now()
    site.land(
        "ps_xid=abc&gspk=MTIz&sid=n&sid1=日本語😀&pscd=go.shop.com".encode().decode("latin-1")
    )
    site.clock.advance(hours=1)
    site.land("ps_xid=abc&sid=later")
    site.land("ps_xid=ABC")
    [first, second] = site.rows()
    assert {name: first[name] for name in first if name != "id"} == {
        "network": "partnerstack",
        "click_id": "abc",
        "partner_key": "123",
        "sub_ids": ["n", "日本語😀"],
        "link_host": "go.shop.com",
        "landing": {"page": "www.shop.example/", "utm": {}, "referrer": None},
        "at": at,
    }
    assert (second["click_id"], second["partner_key"], second["sub_ids"]) == ("ABC", None, [])
    assert site.services.touches.skipped == Counter()
    assert site.services.touches.count() == 2


def test_a_stored_click_is_found_by_its_exact_id(database_site: Site) -> None:
    site = database_site
    click = site.load(site.land("ps_xid=AbC&gspk=MTIz&sid=x&pscd=go.shop.com"))
    assert site.services.touches.find("AbC") == click
    assert site.services.touches.find("abc") is None


def test_the_longest_click_is_stored_whole(database_site: Site) -> None:
    longest = "aZ09" * 128
    database_site.land(f"ps_xid={longest}")
    database_site.land(f"ps_xid={longest[:-1]}8")
    assert [row["click_id"] for row in database_site.rows()] == [longest, longest[:-1] + "8"]


def test_visitors_who_land_at_once_get_one_row_each(database_site: Site) -> None:
    site = database_site
    together = Barrier(8)

    def land(number: int) -> None:
        together.wait(10)
        for click_id in (f"own{number}", "shared"):
            site.visit(f"ps_xid={click_id}")

    threads = [Thread(target=land, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    # A slow machine may leave some out, and counts them; one that comes late is counted no more.
    missing = sum(site.services.touches.skipped.values())
    stored = [row["click_id"] for row in site.rows()]
    assert len(stored) == len(set(stored))
    assert len(stored) >= 9 - missing


def test_memory_of_the_apps_own(tmp_path: Path) -> None:
    site = Site(tmp_path, {})
    site.host("sqlite://")
    with site.start().app.app_context():
        site.services.storage.create()
    site.visit("ps_xid=abc")
    site.visit("ps_xid=abc")
    site.visit("ps_xid=def")
    assert [row["click_id"] for row in site.rows()] == ["abc", "def"]
    site.close()


def test_a_landing_commits_nothing_of_a_caller_on_a_shared_connection(tmp_path: Path) -> None:
    site = Site(tmp_path, {})
    database = site.host("sqlite://")

    class User(database.Model):  # type: ignore[misc, name-defined, unused-ignore]
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(20))

    with site.start().app.app_context():
        database.create_all()
        site.services.storage.create()
        database.session.add(User(name="never"))
        database.session.flush()
        assert site.visit("ps_xid=abc").cookie is not None
        database.session.rollback()
        assert database.session.scalars(select(User)).all() == []
        database.session.rollback()
        assert site.services.touches.skipped == {"busy": 1}
        # That was nobody's fault: the next one is stored.
        site.visit("ps_xid=def")
        assert [row["click_id"] for row in site.rows()] == ["def"]
    site.close()


def test_beyond_the_rate_a_click_has_its_cookie_only(make_site: MakeSite) -> None:
    site = make_site(S2S_CLICK_RATE=3)
    cookies = [site.visit(f"ps_xid=n{number}").cookie for number in range(10)]
    assert None not in cookies
    assert len(site.rows()) == 3
    assert site.services.touches.skipped == {"rate": 7}
    site.clock.advance(seconds=1)
    for number in range(10, 20):
        site.visit(f"ps_xid=n{number}")
    assert len(site.rows()) == 6
    site.clock.advance(days=1)
    for number in range(20, 30):
        site.visit(f"ps_xid=n{number}")
    assert len(site.rows()) == 9


@pytest.mark.parametrize(("rate", "stored"), [(0, 0), (0.5, 2)])
def test_a_rate_under_one_a_second(make_site: MakeSite, rate: float, stored: int) -> None:
    site = make_site(S2S_CLICK_RATE=rate)
    for number in range(4):
        assert site.visit(f"ps_xid=n{number}").cookie is not None
        site.clock.advance(seconds=1)
    assert len(site.rows()) == stored


def test_a_forked_worker_writes_rows_of_its_own(database_site: Site) -> None:
    """As `gunicorn --preload` does: the app has served before the fork, and its thread is gone."""
    site = database_site
    site.land("ps_xid=parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(30)
            site.land("ps_xid=child")
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    site.land("ps_xid=after")
    assert [row["click_id"] for row in site.rows()] == ["parent", "child", "after"]


def test_missing_tables_leave_the_page_alone(
    tmp_path: Path, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The host's database, before its migration was run."""
    site = Site(tmp_path, {})
    site.host(sqlite_url)
    bare = make_app(tmp_path, {})
    with site.start().app.app_context():
        answer = site.visit("ps_xid=abc")
        assert (answer.status, answer.body) == (visit(bare).status, visit(bare).body)
        assert answer.cookie is not None
        assert site.click_seen(cookie=cookie_of(answer))[0] == "abc"
        assert "s2s.click.not_stored: OperationalError" in caplog.text
        site.services.storage.create()
        site.visit("ps_xid=paused")
        site.clock.advance(seconds=30)
        site.visit("ps_xid=def")
        assert [row["click_id"] for row in site.rows()] == ["def"]
        assert site.services.touches.skipped == {"failed": 1, "paused": 1}
    site.close()
