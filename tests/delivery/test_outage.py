"""A network that is away for a week costs time, and nothing else."""

from __future__ import annotations

import pytest

from flask_s2s.errors import TransportError
from flask_s2s.networks.messages import Response
from flask_s2s.testing import accepted, answered
from tests.delivery.shop import Shop

COUNT = 4


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(TransportError("could not connect", sent=False), id="nobody there"),
        pytest.param(TransportError("no answer", sent=True), id="silence"),
        pytest.param(answered(503), id="503"),
        pytest.param(answered(429), id="429"),
        pytest.param(answered(404, "<h1>gone</h1>"), id="404"),
        pytest.param(answered(401), id="a token that is refused"),
    ],
)
def test_a_week_s_outage_loses_nothing_and_is_over_by_itself(
    shop: Shop, trouble: Response | TransportError
) -> None:
    shop.network.then(trouble)
    for number in range(COUNT):
        shop.sign_up(number, f"click{number}")
    for _ in range(7 * 4):
        shop.drain()
        shop.clock.advance(hours=6)
    assert "delivered" not in shop.statuses()
    before = len(shop.network.requests)

    shop.network.then(accepted())
    for _ in range(2):
        shop.clock.advance(hours=2)
        shop.drain()

    assert shop.statuses() == {"delivered": COUNT}
    taken = [(request.body or {})["customer_key"] for request in shop.network.requests[before:]]
    assert sorted(taken, key=int) == [str(number) for number in range(COUNT)]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(TransportError("could not connect", sent=False), id="nobody there"),
        pytest.param(answered(503), id="503"),
        pytest.param(answered(429, retry_after="3600"), id="429"),
    ],
)
def test_a_network_that_fails_again_and_again_is_left_alone_until_it_answers(
    shop: Shop, trouble: Response | TransportError
) -> None:
    shop.network.then(trouble)
    for number in range(60):
        shop.sign_up(number)
    shop.drain()
    assert len(shop.network.requests) == 20
    (breaker,) = shop.services.supervisor.breakers.closed()
    assert breaker.reason.startswith("paused")

    for probes in (1, 2, 3):
        shop.clock.advance(seconds=31)
        shop.drain()
        assert len(shop.network.requests) == 20 + probes

    shop.network.then(accepted())
    shop.clock.advance(seconds=31)
    shop.drain()
    assert shop.services.supervisor.breakers.closed() == []
    assert shop.statuses()["delivered"] >= 37
    shop.clock.advance(hours=2)
    shop.drain()
    assert shop.statuses() == {"delivered": 60}
