"""A parent that moves while a worker has its child in hand: the child does not miss it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, event

from flask_s2s import Delivery, Services, Status
from flask_s2s.conversion import Action
from flask_s2s.operations.acts import credit_by_hand
from flask_s2s.rules.delivery import Settlement
from flask_s2s.rules.verification import Confirmed
from flask_s2s.testing import ManualClock
from flask_s2s.threads import Waker
from tests.verification.site import Site

LEASE = timedelta(seconds=60)


class Interrupted(ManualClock):
    """Lets something happen as soon as a sending thread asks the time: it has its parents by then."""

    def __init__(self, now: datetime, meanwhile: Callable[[], object]) -> None:
        super().__init__(now)
        self._meanwhile = [meanwhile]

    def now(self) -> datetime:
        if self._meanwhile and threading.current_thread().name == "s2s-send":
            self._meanwhile.pop()()
        return super().now()


def drain_interrupted(site: Site, meanwhile: Callable[[], object]) -> None:
    """Let another process drain; `meanwhile` happens while it decides on its first delivery."""
    clock = Interrupted(site.clock.now(), meanwhile)
    site.another(None, clock).supervisor.worker(poll=120).run(Waker(), until_idle=True)


def activate(site: Site) -> Delivery:
    return site.track(Action(customer_key="42", type="activated"))


def test_a_sign_up_that_is_confirmed_in_that_moment_lets_its_child_go(any_site: Site) -> None:
    any_site.switch(readable_after_seconds=600)
    signup, action = any_site.sign_up(), activate(any_site)
    any_site.services.drain()
    assert any_site.status(action) is Status.WAITING
    any_site.clock.advance(minutes=15)
    drain_interrupted(any_site, any_site.services.supervisor.verifier().run_once)
    assert any_site.status(signup) is Status.CONFIRMED
    assert any_site.status(action) is Status.DELIVERED
    assert len(any_site.attempts(action)) == 1


def test_a_sign_up_that_is_credited_in_that_moment_does_not_cost_its_child(any_site: Site) -> None:
    any_site.switch(readable_after_seconds=600)
    signup = any_site.services.track_signup(customer_key="42")
    assert signup
    action = activate(any_site)

    def credit() -> None:
        assert credit_by_hand(any_site.services, "42", any_site.click()) is not None
        any_site.services.drain()
        assert any_site.status(signup) is Status.DELIVERED

    drain_interrupted(any_site, credit)
    assert any_site.status(action) is Status.WAITING
    any_site.after(minutes=15)
    assert any_site.status(action) is Status.DELIVERED


def test_a_child_is_not_put_back_while_its_parent_is_being_moved(any_site: Site) -> None:
    any_site.switch(readable_after_seconds=600)
    any_site.sign_up()
    action = activate(any_site)
    any_site.services.drain()
    now = any_site.clock.advance(minutes=15)
    other = any_site.another()
    (child,) = other.supervisor.claims.claim(limit=8, now=now, lease=LEASE)
    assert (child.id, child.due_at) == (action.id, now + LEASE)
    (parent,) = other.supervisor.claims.parents([child]).values()
    (probed,) = any_site.services.supervisor.verification_queue.claim(limit=8, now=now, lease=LEASE)

    putting = threading.Thread(target=put_back, args=(other, child, parent, now))

    def let_it_try(_: Connection) -> None:
        putting.start()
        putting.join(0.5)  # it cannot end, as long as this transaction is open

    event.listen(any_site.services.storage.engine(), "commit", let_it_try, once=True)
    settled = any_site.services.supervisor.verification_queue.settle(
        [(probed, Confirmed(detail="on record"))], now
    )
    putting.join()
    assert settled == [True]
    assert any_site.status(action) is Status.WAITING
    # On a server it did not wait for the parent's row, and leaves it a second.
    assert any_site.row(action).due_at in (now, now + timedelta(seconds=1))


def put_back(services: Services, child: Delivery, parent: Delivery, now: datetime) -> None:
    later = Settlement(status=Status.WAITING, detail="waits", due_at=now + timedelta(minutes=5))
    services.supervisor.settling.put_back(child, later, now, parent)
