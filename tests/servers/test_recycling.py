"""Servers that replace their workers, are killed, or are told to end at a bad moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers.running import PATIENCE
from tests.servers.shop import Shop
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def test_recycled_workers_lose_nothing(shop: Shop) -> None:
    server = shop.serve("gunicorn-recycling")
    keys = [shop.sign_up(server) for _ in range(6)]
    assert server.output().count("Booting worker") >= 4  # three requests each
    shop.expect_credited_once(*keys)
    assert server.end() == 0
    shop.expect_none_leased()
    assert server.complaints() == []


def test_a_killed_server_with_a_post_in_flight_is_recovered_by_any_one_request(shop: Shop) -> None:
    server = shop.serve("gunicorn-sync", S2S_LEASE="3")
    shop.network.set_faults(timeout_before_write=1.0, hold_seconds=600)
    key = shop.sign_up(server)
    wait_until(lambda: shop.network.posts(key) >= 1, PATIENCE, what="the post")
    server.kill()
    shop.network.set_faults()
    shop.serve("gunicorn-sync", S2S_LEASE="3").get()
    shop.expect_credited_once(key)


def test_an_exit_is_not_held_by_a_network_that_holds_its_answer(shop: Shop) -> None:
    server = shop.serve("waitress")
    shop.network.set_faults(timeout_before_write=1.0, hold_seconds=600)
    key = shop.sign_up(server)
    wait_until(lambda: shop.network.posts(key) == 1, PATIENCE, what="the post")
    assert server.end() == 0
    # An attempt may take 15 s: it was not waited for, and its lease will run out.
    assert "s2s.worker.left" in server.output()
    assert shop.row(key).lease_token is not None
    assert server.complaints() == []


def test_first_requests_that_come_at_once_are_all_served(shop: Shop) -> None:
    left = shop.leave_undelivered()
    server = shop.serve("gunicorn-gevent-preload")
    with ThreadPoolExecutor(12) as visitors:
        assert [answer.text for answer in visitors.map(server.get, ["/"] * 12)] == ["a page"] * 12
    shop.expect_credited_once(left)
