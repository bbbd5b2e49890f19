"""A database that cannot hold what the network said: the delivery is settled all the same."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import create_engine, make_url, text

from flask_s2s.networks.messages import Request, Response
from flask_s2s.testing import accepted
from tests.delivery.shop import Shop
from tests.delivery.test_pace import Patient

pytestmark = pytest.mark.service

SORRY = "d\u00e9sol\u00e9 \U0001f622"


class Moody:
    """A network that is sorry for one customer, and says so with a face."""

    def __init__(self) -> None:
        self.posts: Counter[str] = Counter()

    def send(self, request: Request, *, seconds: float) -> Response:
        assert request.body is not None
        key = request.body["customer_key"]
        self.posts[key] += 1
        return Response(status=500, body=SORRY.encode()) if key == "unlucky" else accepted()


def execute(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture
def latin_url(mariadb_url: str) -> str:
    """A database of a host that has never heard of emoji."""
    execute(mariadb_url, f"ALTER DATABASE {make_url(mariadb_url).database} CHARACTER SET latin1")
    return mariadb_url


@pytest.mark.parametrize("columns", ["ours", "the host's"])
def test_one_answer_that_cannot_be_written_undoes_no_other(latin_url: str, columns: str) -> None:
    shop = Shop(latin_url)
    if columns != "ours":
        execute(latin_url, "ALTER TABLE s2s_attempt MODIFY answer TEXT CHARACTER SET latin1")
    network = Moody()
    unlucky = shop.sign_up("unlucky")
    for key in range(5):
        shop.sign_up(key)
    shop.another(transport=network).supervisor.worker().run(Patient())
    assert shop.statuses() == {"delivered": 5, "pending": 1}
    assert set(network.posts.values()) == {1}
    (attempt,) = shop.attempts(unlucky)
    assert attempt.http_status == 500
    # A column that the host has made anew holds what it can: nothing, or the bytes as it reads them.
    kept = {SORRY} if columns == "ours" else {None, SORRY.encode().decode("cp1252")}
    assert attempt.answer in kept
    shop.close()
