"""A process that is frozen whenever it answers no request, as those of serverless platforms are."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import requests

from flask_s2s import Status
from tests.servers.running import PATIENCE, Server
from tests.servers.shop import Shop

pytestmark = [pytest.mark.slow, pytest.mark.service]


@contextmanager
def thawed(server: Server) -> Iterator[requests.Session]:
    """Let it run for one request; then it stops wherever each of its threads is."""
    os.killpg(server.process.pid, signal.SIGCONT)
    with requests.Session() as session:
        yield session
    os.killpg(server.process.pid, signal.SIGSTOP)


def visit(shop: Shop, server: Server) -> str:
    """Come by Ada's link and sign up; return the customer's key."""
    key, query = uuid.uuid4().hex, urlsplit(shop.network.link()).query
    with thawed(server) as session:
        landed = session.get(f"{server.url}/?{query}", timeout=PATIENCE)
    with thawed(server) as session:
        form = {"key": key}
        post = session.post(
            f"{server.url}/signup", data=form, cookies=landed.cookies, timeout=PATIENCE
        )
    assert post.ok, post.text
    return key


def test_a_call_by_the_clock_delivers_what_frozen_processes_have_recorded(
    postgresql_shop: Shop,
) -> None:
    shop = postgresql_shop
    servers = [shop.serve("waitress", S2S_WORKER="external") for _ in range(2)]
    keys = [visit(shop, server) for server in servers]
    assert {shop.row(key).status for key in keys} == {Status.PENDING}
    with thawed(servers[0]) as session:
        assert session.post(f"{servers[0].url}/drain", timeout=PATIENCE).text == "2"
    shop.expect_credited_once(*keys)
    shop.expect_none_leased()


def test_what_was_being_sent_when_the_process_froze_for_good_is_sent_by_another(
    postgresql_shop: Shop,
) -> None:
    shop = postgresql_shop
    frozen = shop.serve("waitress", S2S_WORKER="external")
    key = visit(shop, frozen)
    # Claimed, and never settled: the process is not thawed again.
    now, over = shop.services.clock.now(), timedelta(microseconds=1)
    assert shop.services.supervisor.claims.claim(limit=1, now=now, lease=over)
    other = shop.serve("waitress", S2S_WORKER="external")
    with thawed(other) as session:
        assert session.post(f"{other.url}/drain", timeout=PATIENCE).text == "1"
    shop.expect_credited_once(key)
