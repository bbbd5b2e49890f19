"""The cost of a click row to a landing: a bounded wait, then nothing for a while.

How long it took is not asserted, because a loaded machine proves nothing: the seams are. A landing
returns while the lock is held and while the database host has not answered; only a bounded wait
can do that.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text

from flask_s2s.store.clicks import PAUSE
from flask_s2s.threads import WAIT
from tests.capture.sites import PAGE, Answer, MakeSite, Site, cookie_of
from tests.waiting import wait_until

NOT_STORED = "s2s.click.not_stored"


def assert_landed(site: Site, answer: Answer, click_id: str) -> None:
    """The page and the cookie are as ever, whatever became of the row."""
    assert (answer.status, answer.body) == ("200 OK", PAGE)
    click = site.load(answer)
    assert click is not None
    assert click.click_id == click_id
    assert site.click_seen(cookie=cookie_of(answer))[0] == click_id


@contextmanager
def write_lock(url: str) -> Iterator[None]:
    """Hold the SQLite file's write lock, as a long transaction of somebody else does."""
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize("whose", ["ours", "the hosts"])
def test_a_held_write_lock(
    tmp_path: Path, sqlite_url: str, whose: str, caplog: pytest.LogCaptureFixture
) -> None:
    """On our own file (WAL), and on the host's (a rollback journal)."""
    site = Site(tmp_path, {"S2S_DATABASE_URI": sqlite_url if whose == "ours" else None})
    site.host(sqlite_url)
    with site.start().app.app_context():
        site.services.storage.create()
    site.visit("ps_xid=before")
    with write_lock(sqlite_url):
        assert_landed(site, site.visit("ps_xid=locked"), "locked")
        assert caplog.text.count(NOT_STORED) == 1
        # Not tried again for half a minute, and no second warning.
        site.clock.advance(PAUSE / 2)
        assert_landed(site, site.visit("ps_xid=paused"), "paused")
        assert caplog.text.count(NOT_STORED) == 1
    assert site.services.touches.skipped == {"failed": 1, "paused": 1}
    site.clock.advance(PAUSE / 2)
    site.visit("ps_xid=after")
    assert [row["click_id"] for row in site.rows()] == ["before", "after"]
    site.close()


def test_the_lock_is_waited_for_no_longer_than_promised(site: Site) -> None:
    waits: list[int] = []

    def ask(connection: Any, _record: Any) -> None:
        waits.append(connection.execute("PRAGMA busy_timeout").fetchone()[0])

    site.visit()
    event.listen(Engine, "connect", ask)
    try:
        site.visit("ps_xid=abc")
    finally:
        event.remove(Engine, "connect", ask)
    assert waits == [WAIT * 1000]


def test_a_click_row_waits_for_no_disk_on_our_own_file(site: Site) -> None:
    """Only a conversion is worth an fsync; without WAL the file could be damaged without one."""
    synchronous: list[int] = []
    site.visit()
    site.visit("ps_xid=first")

    def ask(connection: Any, _record: Any, _fairy: Any) -> None:
        synchronous.append(connection.execute("PRAGMA synchronous").fetchone()[0])

    event.listen(Engine, "checkout", ask)
    try:
        site.visit("ps_xid=second")
    finally:
        event.remove(Engine, "checkout", ask)
    assert synchronous == [1]


class BlackHole:
    """A port of this machine that takes connections and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=8)
        self.port = self._listener.getsockname()[1]

    def close(self) -> None:
        # Also resets what waits in the backlog, so that whoever hangs on it ends.
        self._listener.close()


@pytest.fixture
def black_hole() -> Iterator[BlackHole]:
    hole = BlackHole()
    yield hole
    hole.close()


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mariadb+pymysql"])
def test_a_database_host_that_never_answers(
    make_site: MakeSite, black_hole: BlackHole, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(
        S2S_DATABASE_URI=f"{driver}://user@127.0.0.1:{black_hole.port}/shop",
        S2S_WORKER="external",
        TESTING=False,
    )
    answers: list[Answer] = []
    landing = Thread(target=lambda: answers.append(site.visit("ps_xid=first")), daemon=True)
    landing.start()
    # Any bound would do here; without one this landing would hang as long as the host does.
    wait_until(lambda: answers, what="the landing is over")
    assert_landed(site, answers[0], "first")
    assert "no answer in time" in caplog.text
    assert_landed(site, site.visit("ps_xid=second"), "second")
    assert site.services.touches.skipped == {"failed": 1, "paused": 1}
    # Still nothing: one more try each half minute, behind the one that hangs.
    site.clock.advance(PAUSE)
    assert_landed(site, site.visit("ps_xid=third"), "third")
    assert site.services.touches.skipped == {"failed": 2, "paused": 1}


@pytest.mark.service
def test_a_slow_row_is_stored_and_ends_the_pause(
    make_site: MakeSite, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The table is locked by somebody for longer than a landing waits, and then free again."""
    site = make_site(S2S_DATABASE_URI=postgresql_url)
    site.services.storage.create()
    other = create_engine(postgresql_url)
    with other.begin() as connection:
        connection.execute(text("LOCK TABLE s2s_click IN EXCLUSIVE MODE"))
        assert_landed(site, site.visit("ps_xid=slow"), "slow")
        assert "no answer in time" in caplog.text
        assert_landed(site, site.visit("ps_xid=paused"), "paused")
    wait_until(
        lambda: [row["click_id"] for row in site.rows()] == ["slow"], what="the row is there"
    )
    wait_until(lambda: not site.services.touches.skipped["failed"], what="the pause is over")
    site.land("ps_xid=next")
    assert [row["click_id"] for row in site.rows()] == ["slow", "next"]
    other.dispose()


@pytest.mark.service
def test_a_slow_answer_that_the_day_is_full_ends_the_pause(
    make_site: MakeSite, postgresql_url: str
) -> None:
    first = make_site(S2S_DATABASE_URI=postgresql_url, S2S_CLICK_DAY=1)
    first.services.storage.create()
    first.land("ps_xid=first")
    site = make_site(S2S_DATABASE_URI=postgresql_url, S2S_CLICK_DAY=1)
    other = create_engine(postgresql_url)
    with other.begin() as connection:
        connection.execute(text("LOCK TABLE s2s_click IN ACCESS EXCLUSIVE MODE"))
        assert_landed(site, site.visit("ps_xid=slow"), "slow")
        assert site.services.touches.skipped == {"failed": 1}
    skipped = site.services.touches.skipped
    wait_until(lambda: skipped == {"failed": 0, "day": 1}, what="it is told")
    site.visit("ps_xid=next")
    assert skipped == {"failed": 0, "day": 2}
    other.dispose()


def test_an_error_in_the_thread_is_told_and_survived(
    make_site: MakeSite, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(S2S_DATABASE_URI=database_url)
    site.services.storage.create()
    with site.services.storage.engine().begin() as connection:
        connection.execute(text("ALTER TABLE s2s_click RENAME TO s2s_elsewhere"))
    assert_landed(site, site.visit("ps_xid=failed"), "failed")
    assert NOT_STORED in caplog.text
    with site.services.storage.engine().begin() as connection:
        connection.execute(text("ALTER TABLE s2s_elsewhere RENAME TO s2s_click"))
    site.clock.advance(PAUSE)
    site.visit("ps_xid=stored")
    wait_until(
        lambda: [row["click_id"] for row in site.rows()] == ["stored"], what="the row is there"
    )


def test_a_database_that_cannot_be_opened(
    make_site: MakeSite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.sqlite3"
    broken.write_bytes(b"this is no database" * 100)
    site = make_site(S2S_DATABASE_URI=f"sqlite:///{broken}")
    assert_landed(site, site.visit("ps_xid=abc"), "abc")
    assert NOT_STORED in caplog.text
    assert "this is no database" not in caplog.text


def test_a_refused_connection(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    hole = BlackHole()
    hole.close()
    site = make_site(
        S2S_DATABASE_URI=f"postgresql+psycopg://user:hidden@127.0.0.1:{hole.port}/shop",
        S2S_WORKER="external",
        TESTING=False,
    )
    assert_landed(site, site.visit("ps_xid=abc"), "abc")
    assert NOT_STORED in caplog.text
    assert "hidden" not in caplog.text


def test_the_bound_is_what_was_promised() -> None:
    assert WAIT <= 0.05
    assert PAUSE.total_seconds() == 30
