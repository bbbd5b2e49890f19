"""A network for a module's tests, and a shop for each test; every server is ended with it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.servers.network import StandIn
from tests.servers.shop import Shop


@pytest.fixture(scope="module")
def lasting_network() -> Iterator[StandIn]:
    network = StandIn()
    yield network
    network.close()


@pytest.fixture
def network(lasting_network: StandIn) -> StandIn:
    lasting_network.may_answer.set()
    lasting_network.set_faults()
    lasting_network.ports.clear()
    return lasting_network


@pytest.fixture
def shop(sqlite_url: str, network: StandIn, tmp_path: pathlib.Path) -> Iterator[Shop]:
    shop = Shop(sqlite_url, network, tmp_path)
    yield shop
    shop.close()


@pytest.fixture
def postgresql_shop(
    postgresql_url: str, network: StandIn, tmp_path: pathlib.Path
) -> Iterator[Shop]:
    shop = Shop(postgresql_url, network, tmp_path)
    yield shop
    shop.close()
