"""A row that a host holds in its own transaction delays itself, and ends nobody's page.

A host holds one by reporting the same again with `session=`, for as long as its transaction goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from threading import Thread

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from flask_s2s import Action, Click, Status
from flask_s2s.networks.messages import Request, Response
from flask_s2s.rules.delivery import Settlement
from flask_s2s.store.outbox.ledger import Wanted
from flask_s2s.testing import ScriptedTransport, answered
from flask_s2s.threads import Waker
from tests.delivery.shop import Shop
from tests.delivery.steps import DONE, TAKEN, claim
from tests.waiting import wait_until

SCHEMA = '{"message": "\'xid\' is a required property", "status": 400}'


@pytest.fixture(
    params=[
        pytest.param("postgresql", marks=pytest.mark.service),
        pytest.param("mariadb", marks=pytest.mark.service),
    ]
)
def server_shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop on each server: on SQLite a writer holds the whole file, and no row."""
    with closing(Shop(request.getfixturevalue(f"{request.param}_url"))) as shop:
        yield shop


@contextmanager
def reporting(shop: Shop, *keys: str) -> Iterator[Session]:
    """Report customers again in a transaction of the host's own, which stays open."""
    engine = create_engine(shop.url)
    with Session(engine) as session:
        for key in keys:
            again(shop, session, key)
        yield session
        session.commit()
    engine.dispose()


def again(shop: Shop, session: Session, key: str) -> None:
    click = Click(click_id="click1", at=shop.clock.now())
    shop.services.track_signup(customer_key=key, click=click, session=session)


def test_a_claim_waits_for_no_row_that_a_host_holds(server_shop: Shop) -> None:
    for key in "abcdef":
        server_shop.sign_up(key)
    with reporting(server_shop, "c"):
        assert sorted(one.customer_key or "" for one in claim(server_shop)) == list("abdef")


def test_a_batch_leaves_out_the_row_that_a_host_holds(server_shop: Shop) -> None:
    for key in "abc":
        server_shop.sign_up(key)
    done = [(one, DONE, TAKEN) for one in claim(server_shop)]
    settling, now = server_shop.services.supervisor.settling, server_shop.clock.now()
    with reporting(server_shop, "b"):
        ended = settling.settle(done, now)
        assert dict(zip([one.customer_key for one, _, _ in done], ended, strict=True)) == {
            "a": True,
            "b": None,
            "c": True,
        }
        assert server_shop.statuses() == {"delivered": 2, "sending": 1}
    assert settling.settle(done, now).count(True) == 1
    assert server_shop.statuses() == {"delivered": 3}


def test_a_stale_lease_is_told_from_a_row_that_is_held(server_shop: Shop) -> None:
    server_shop.sign_up("a")
    (stale,) = claim(server_shop)
    server_shop.clock.advance(timedelta(seconds=60))
    claim(server_shop)
    with reporting(server_shop, "a"):
        ended = server_shop.services.supervisor.settling.settle(
            [(stale, DONE, TAKEN)], server_shop.clock.now()
        )
        assert ended == [False]


def test_no_order_of_reporting_meets_a_settle_in_a_deadlock(server_shop: Shop) -> None:
    """The host has one row and wants the other; the worker settles both."""
    for key in "ab":
        server_shop.sign_up(key)
    done = [(one, DONE, TAKEN) for one in claim(server_shop)]
    for held, wanted in ("ab", "ba"):
        with reporting(server_shop, held) as session:
            server_shop.services.supervisor.settling.settle(done, server_shop.clock.now())
            again(server_shop, session, wanted)
    server_shop.services.supervisor.settling.settle(done, server_shop.clock.now())
    assert server_shop.statuses() == {"delivered": 2}


# On MariaDB the host's upsert also locks the gap beside its row, against every other report.
@pytest.mark.parametrize(
    "server_shop", [pytest.param("postgresql", marks=pytest.mark.service)], indirect=True
)
def test_a_worker_settles_a_held_row_when_the_host_commits_and_sends_it_once(
    server_shop: Shop,
) -> None:
    holding = create_engine(server_shop.url)
    with Session(holding) as session:

        class Held(ScriptedTransport):
            """The host reports the first customer again while the answer is on its way."""

            def send(self, request: Request, *, seconds: float) -> Response:
                if not self.requests:
                    again(server_shop, session, "a")
                return super().send(request, seconds=seconds)

        server_shop.sign_up("a")
        network, waker = Held(), Waker()
        services = server_shop.another(transport=network)
        working = Thread(target=services.supervisor.work, args=(waker,))
        working.start()
        wait_until(lambda: network.requests)
        server_shop.sign_up("b")
        waker.wake()
        wait_until(lambda: server_shop.statuses() == {"delivered": 1, "sending": 1})
        session.commit()
        wait_until(lambda: server_shop.statuses() == {"delivered": 2})
        waker.stop()
        working.join()
    holding.dispose()
    assert len(network.requests) == 2


def test_what_waits_unsent_is_put_back_when_the_host_commits(server_shop: Shop) -> None:
    server_shop.sign_up("a")
    (held,) = claim(server_shop)
    settling, now = server_shop.services.supervisor.settling, server_shop.clock.now()
    later = Settlement(status=Status.WAITING, detail="waits", due_at=now + timedelta(hours=1))
    with reporting(server_shop, "a"):
        assert settling.put_back(held, later, now, None) is None
        assert server_shop.status() is Status.SENDING
    assert settling.put_back(held, later, now, None) is True
    assert server_shop.status() is Status.WAITING


def test_a_child_whose_parent_a_host_holds_is_looked_at_again_shortly(server_shop: Shop) -> None:
    parent = server_shop.sign_up("a")
    server_shop.drain()
    server_shop.services.track(Action(customer_key="a", type="activated"))
    (child,) = claim(server_shop)
    (known,) = server_shop.services.supervisor.claims.parents([child]).values()
    assert known.id == parent.id
    now = server_shop.clock.now()
    later = Settlement(status=Status.WAITING, detail="waits", due_at=now + timedelta(hours=1))
    with reporting(server_shop, "a"):
        assert server_shop.services.supervisor.settling.put_back(child, later, now, known) is False
    assert server_shop.row(child).due_at == now + timedelta(seconds=1)


@pytest.mark.parametrize("act", ["retry", "ack"])
def test_an_act_on_many_leaves_out_the_row_that_a_host_holds(server_shop: Shop, act: str) -> None:
    server_shop.network.then(answered(400, SCHEMA))
    for key in "abc":
        server_shop.sign_up(key)
    server_shop.drain()
    ledger, now = server_shop.services.ledger, server_shop.clock.now()
    acts = {
        "retry": lambda: ledger.retry(Wanted(status="refused"), now, timedelta(days=1)),
        "ack": lambda: ledger.acknowledge(Wanted(), now),
    }
    with reporting(server_shop, "b"):
        assert acts[act]() == 2
    assert acts[act]() == 1
