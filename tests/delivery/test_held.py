"""A credential that does not work holds what needs it, loudly, until it works."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from flask_s2s import Status
from flask_s2s.conversion import Action
from flask_s2s.networks.messages import Request, Response
from flask_s2s.testing import accepted, answered
from tests.delivery.shop import Shop

Opening = Callable[..., Shop]
TRACKING = "partnerstack/tracking"


class Door:
    """A network that knows who may come in."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = {f"Bearer {token}" for token in tokens}
        self.tried: list[str] = []
        self.status = 401

    def send(self, request: Request, *, seconds: float) -> Response:
        self.tried.append(request.headers["Authorization"].removeprefix("Bearer "))
        known = request.headers["Authorization"] in self.tokens
        return accepted() if known else answered(self.status)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    actions = [str(record.__dict__.get("action")) for record in caplog.records]
    return [action for action in actions if action.startswith("lane.")]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_holds_everything_and_one_probe_at_a_time_goes_out(
    any_shop: Shop, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.INFO, "flask_s2s")
    door = Door()
    door.status = status
    services = any_shop.another({"S2S_TOKEN": "new"}, transport=door)
    for key in range(12):
        any_shop.sign_up(key)
    services.drain()
    assert len(door.tried) == 1, "the first refusal closes the lane"
    assert any_shop.statuses() == {"held": 1, "pending": 11}
    assert told(caplog) == ["lane.held"]

    any_shop.clock.advance(seconds=29)
    assert services.drain() == 0
    for minutes in range(1, 6):
        any_shop.clock.advance(seconds=31)
        assert services.drain() == 1
        assert len(door.tried) == 1 + minutes
    assert "delivered" not in any_shop.statuses()

    door.tokens.add("Bearer new")
    any_shop.clock.advance(seconds=31)
    services.drain()
    assert any_shop.statuses() == {"delivered": 12}
    assert told(caplog) == ["lane.held", "lane.resumed"]


def test_two_workers_share_one_probe(shop: Shop) -> None:
    door = Door()
    workers = [shop.another(transport=door) for _ in range(2)]
    for key in range(6):
        shop.sign_up(key)
    for services in workers:
        services.drain()
    assert len(door.tried) == 1
    shop.clock.advance(seconds=31)
    assert [services.drain() for services in workers] == [1, 0]


def test_a_delivery_that_is_held_for_weeks_goes_out_when_the_token_works(shop: Shop) -> None:
    shop.network.then(answered(401))
    shop.sign_up()
    shop.drain()
    shop.clock.advance(days=60)
    shop.network.then(accepted())
    shop.drain()
    assert shop.status() is Status.DELIVERED


def test_a_delivery_that_is_held_past_its_deadline_expires(shop: Shop) -> None:
    shop.network.then(answered(401))
    shop.sign_up()
    shop.drain()
    shop.clock.advance(days=91)
    shop.drain()
    assert shop.status() is Status.EXPIRED


def test_a_probe_that_meets_another_trouble_leaves_the_lane_closed(shop: Shop) -> None:
    for key in range(4):
        shop.sign_up(key)
    shop.network.then(answered(401), answered(503))
    shop.drain()
    shop.clock.advance(seconds=31)
    assert shop.drain() == 1
    assert [breaker.lane for breaker in shop.services.supervisor.breakers.closed()] == [TRACKING]
    assert len(shop.network.requests) == 2


def test_another_lane_is_not_held(shop: Shop) -> None:
    shop.sign_up("old customer")
    shop.drain()
    action = shop.services.track(Action(customer_key="old customer", type="trial", key="a1"))
    assert action
    shop.sign_up("42")
    shop.drain()
    assert shop.status() is Status.DELIVERED
    assert shop.status(action) is Status.HELD
    assert "S2S_PARTNERSTACK_PUBLIC_KEY" in (shop.row(action).detail or "")


class Fussy:
    """A network, or a wall before it, that takes everybody but one."""

    def send(self, request: Request, *, seconds: float) -> Response:
        assert request.body is not None
        refused = request.body["customer_key"] == "disliked"
        return answered(403, "<html>blocked</html>") if refused else accepted()


def test_one_that_is_always_refused_does_not_hold_the_others_for_ever(shop: Shop) -> None:
    services = shop.another(transport=Fussy())
    shop.sign_up("disliked")
    late = 0
    for number in range(120):
        shop.clock.advance(seconds=30)
        delivery = shop.sign_up(number)
        services.drain()
        late += shop.status(delivery) is not Status.DELIVERED
    # An hour: it is tried twice every ten minutes, and costs the others half a minute each time.
    assert late <= 15
    assert shop.statuses()["delivered"] >= 119


# -- where tokens come from -----------------------------------------------------------------------


def test_no_token_holds_and_says_what_to_set(open_shop: Opening) -> None:
    shop = open_shop(S2S_TOKEN=None)
    shop.sign_up()
    shop.drain()
    row = shop.row()
    assert row.status is Status.HELD
    assert "S2S_TOKEN" in (row.detail or "")
    assert shop.network.requests == []


def test_a_token_file_may_appear_change_and_go_while_the_worker_runs(
    open_shop: Opening, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    shop = open_shop(S2S_TOKEN=None, S2S_TOKEN_FILE=str(file))
    door = Door("one", "two")
    services = shop.another({"S2S_TOKEN": None, "S2S_TOKEN_FILE": str(file)}, transport=door)

    def send(key: str) -> Status:
        delivery = shop.sign_up(key)
        shop.clock.advance(seconds=31)
        services.drain()
        return shop.status(delivery)

    assert send("a") is Status.HELD
    assert "S2S_TOKEN_FILE cannot be read (FileNotFoundError)" in (shop.row().detail or "")
    file.write_bytes(b"\xef\xbb\xbfone\r\n")
    assert send("b") is Status.DELIVERED
    # The same length within the same tick of the file system's clock.
    file.write_text("two")
    assert send("c") is Status.DELIVERED
    file.write_text("odd")
    assert send("d") is Status.HELD
    file.write_text("two\n\n")
    assert send("e") is Status.DELIVERED
    file.unlink()
    assert send("f") is Status.HELD
    assert door.tried == ["one", "one", "two", "odd", "two", "two"]


def test_a_callable_token_is_asked_each_time(open_shop: Opening) -> None:
    store: list[str | None] = [None]
    shop = open_shop(S2S_TOKEN=lambda: store[0])
    shop.sign_up("a")
    shop.drain()
    assert shop.status() is Status.HELD
    store[0] = "fresh"
    shop.clock.advance(seconds=31)
    shop.drain()
    assert shop.status() is Status.DELIVERED
    assert shop.network.requests[0].headers["Authorization"] == "Bearer fresh"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("tok\nen", id="a line break"),
        pytest.param("tökén", id="no ASCII"),
        pytest.param("", id="empty"),
        pytest.param(12345, id="a number"),
        pytest.param(["real-token", "sandbox-token"], id="two environments"),
    ],
)
def test_what_a_callable_gives_is_checked_like_a_setting(
    open_shop: Opening, given: str | int | Sequence[str]
) -> None:
    shop = open_shop(S2S_TOKEN=lambda: given)
    shop.sign_up()
    shop.drain()
    assert shop.status() is Status.HELD
    assert shop.network.requests == []


def test_a_secret_store_that_fails_holds_and_its_words_are_not_repeated(
    open_shop: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    def store() -> str:
        raise ConnectionError("vault says: hunter2 is not valid")

    shop = open_shop(S2S_TOKEN=store)
    shop.sign_up()
    shop.drain()
    assert shop.status() is Status.HELD
    assert "ConnectionError" in (shop.row().detail or "")
    assert "hunter2" not in caplog.text


def test_in_a_rotation_the_next_token_is_tried_and_the_one_that_worked_goes_first(
    open_shop: Opening,
) -> None:
    shop = open_shop()
    door = Door("new")
    services = shop.another({"S2S_TOKEN": ["revoked", "new"]}, transport=door)
    for key in "abc":
        shop.sign_up(key)
    services.drain()
    assert shop.statuses() == {"delivered": 3}
    assert door.tried == ["revoked", "new", "new", "new"]
    assert all(len(shop.attempts(found)) == 1 for found in services.ledger.find())


def test_a_rotation_none_of_whose_tokens_works_is_held(open_shop: Opening) -> None:
    door = Door()
    shop = open_shop()
    services = shop.another({"S2S_TOKEN": ["a", "b"]}, transport=door)
    shop.sign_up()
    services.drain()
    assert shop.status() is Status.HELD
    assert door.tried == ["a", "b"]


def test_a_rotation_stops_at_an_answer_that_is_not_about_the_token(open_shop: Opening) -> None:
    shop = open_shop(S2S_TOKEN=["a", "b"])
    shop.network.then(answered(503))
    shop.sign_up()
    shop.drain()
    assert len(shop.network.requests) == 1
    assert shop.row().due_at is not None
    assert shop.row().due_at != shop.clock.now() + timedelta(0)
