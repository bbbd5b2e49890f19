"""uWSGI without threads: said once, no page is hurt, and `flask s2s work` delivers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flask_s2s import Status
from tests.servers.running import PATIENCE, ROOT, SITE, environment
from tests.servers.shop import Shop

pytestmark = pytest.mark.slow

WARNING = "s2s.worker.no_threads"


def work_once(shop: Shop) -> None:
    settings = {**shop.settings, "S2S_DATABASE_URI": shop.url}
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", SITE, "s2s", "work", "--once"],
        cwd=ROOT,
        env=environment(settings),
        check=True,
        timeout=PATIENCE,
    )


def test_without_threads_it_says_once_what_to_do_and_starts_none(shop: Shop) -> None:
    server = shop.serve("uwsgi-frozen")
    # Not even one that looks for the tables: it would stop between two requests, with its locks.
    assert {len(server.describe()["threads"]) for _ in range(3)} == {1}
    keys = [shop.sign_up(server) for _ in range(3)]
    assert server.output().count(WARNING) == 1
    assert "--enable-threads" in server.output()
    assert "flask s2s work" in server.output()
    assert {shop.row(key).status for key in keys} == {Status.PENDING}
    work_once(shop)
    shop.expect_credited_once(*keys)
    assert server.end() == 0
    assert server.complaints() == []


@pytest.mark.service
def test_on_a_database_server_a_landing_without_threads_is_served(postgresql_shop: Shop) -> None:
    server = postgresql_shop.serve("uwsgi-frozen")
    keys = [postgresql_shop.sign_up(server) for _ in range(3)]
    work_once(postgresql_shop)
    postgresql_shop.expect_credited_once(*keys)
    assert server.output().count(WARNING) == 1


def test_with_threads_or_where_another_process_works_nothing_is_said(shop: Shop) -> None:
    server = shop.serve("uwsgi-frozen", S2S_WORKER="external")
    server.get()
    assert WARNING not in server.output()
    server.kill()
    server = shop.serve("uwsgi-lazy")
    server.get()
    assert WARNING not in server.output()
