"""Under each server: a sign-up is credited once, a restart recovers, an orderly end drains."""

from __future__ import annotations

import contextlib
import subprocess

import pytest

from flask_s2s import Status
from tests.servers.running import DELIVERING, PATIENCE
from tests.servers.shop import Shop
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("kind", DELIVERING)]


def test_a_sign_up_and_what_an_earlier_process_left_are_credited_once(
    shop: Shop, kind: str
) -> None:
    left = shop.leave_undelivered()
    server = shop.serve(kind)
    server.get()  # any one request
    shop.expect_credited_once(left)
    key = shop.sign_up(server)
    shop.expect_credited_once(key)


def test_an_orderly_end_settles_what_is_in_flight(shop: Shop, kind: str) -> None:
    server = shop.serve(kind)
    shop.network.may_answer.clear()
    key = shop.sign_up(server)
    wait_until(lambda: shop.network.posts(key) == 1, PATIENCE, what="the post")
    assert shop.row(key).status is Status.SENDING
    server.ask_to_end()
    # Well into the end, which waits ten seconds for an answer.
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(1.5)
    shop.network.may_answer.set()
    assert server.process.wait(PATIENCE) == 0, server.output()
    assert shop.row(key).status is Status.DELIVERED
    shop.expect_none_leased()
    shop.network.expect_credited_once(key)
    assert server.complaints() == []
    assert "s2s.worker.left" not in server.output()
