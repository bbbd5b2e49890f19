"""Leases and their fence: the same on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

from flask_s2s import Delivery, Services, Status
from flask_s2s.networks.messages import Ambiguous, Exchanged, Request, Response
from flask_s2s.rules.delivery import Settlement
from flask_s2s.store.outbox.rows import new_token
from flask_s2s.testing import ScriptedTransport
from tests.delivery.shop import Shop
from tests.delivery.steps import DONE, LEASE, TAKEN, arm, claim, settle


def sent_first(shop: Shop) -> object:
    """Return the customer of the first request."""
    body = shop.network.requests[0].body
    return body and body["customer_key"]


def reclaim(shop: Shop, limit: int = 10, closed: Sequence[str] = ()) -> list[Delivery]:
    return shop.services.supervisor.claims.reclaim(
        limit=limit, now=shop.clock.now(), lease=LEASE, closed=closed
    )


# -- claiming -------------------------------------------------------------------------------------


def test_a_claim_leases_the_row_and_opens_the_attempt(any_shop: Shop) -> None:
    added = any_shop.sign_up()
    (claimed,) = claim(any_shop)
    assert claimed.id == added.id
    assert (claimed.status, claimed.attempts) == (Status.SENDING, 1)
    stored = any_shop.row()
    assert stored.lease_token == claimed.lease_token
    assert stored.due_at == any_shop.clock.now() + LEASE
    (attempt,) = any_shop.attempts()
    assert (attempt.number, attempt.opened_at) == (1, any_shop.clock.now())
    assert (attempt.closed_at, attempt.outcome) == (None, None)
    assert claim(any_shop) == []


def test_what_a_dead_worker_held_goes_before_all_that_is_due(any_shop: Shop) -> None:
    any_shop.sign_up("orphan")
    claim(any_shop)
    for key in range(5):
        any_shop.sign_up(key)
    any_shop.clock.advance(LEASE)
    any_shop.drain()
    assert sent_first(any_shop) == "orphan"


def test_what_a_dead_view_held_goes_before_all_that_is_due(any_shop: Shop) -> None:
    arm(any_shop, "orphan")
    for key in range(5):
        any_shop.sign_up(key)
    any_shop.clock.advance(LEASE)
    any_shop.drain()
    assert sent_first(any_shop) == "orphan"


def test_only_what_its_holder_left_is_reclaimed(any_shop: Shop) -> None:
    """Not what is held, not what is merely due, and nothing of a closed lane."""
    any_shop.sign_up("held")
    any_shop.sign_up("of a closed lane")
    orphan, _ = claim(any_shop)
    any_shop.sign_up("due")
    assert reclaim(any_shop) == []
    any_shop.clock.advance(LEASE)
    assert reclaim(any_shop, closed=[orphan.lane]) == []
    (one,) = reclaim(any_shop, limit=1)
    assert (one.id, one.attempts, one.status) == (orphan.id, 2, Status.SENDING)
    assert one.ambiguous_at == any_shop.clock.now()
    assert len(reclaim(any_shop)) == 1
    assert reclaim(any_shop) == []


def test_a_worker_leaves_time_for_an_orphans_turn(any_shop: Shop) -> None:
    """A worker that dies right after a claim is waited for one lease at most, turn included."""
    any_shop.sign_up()
    until = []

    class Looking(ScriptedTransport):
        def send(self, request: Request, *, seconds: float) -> Response:
            until.append(any_shop.row().due_at)
            return super().send(request, seconds=seconds)

    services = any_shop.another({"S2S_LEASE": 60}, transport=Looking())
    services.drain()
    assert until == [any_shop.clock.now() + timedelta(seconds=45)]


def test_a_claim_takes_the_longest_due_first_and_no_more_than_asked(any_shop: Shop) -> None:
    for key in "abcde":
        any_shop.sign_up(key)
        any_shop.clock.advance(seconds=1)
    assert sorted(d.customer_key or "" for d in claim(any_shop, limit=3)) == ["a", "b", "c"]
    assert sorted(d.customer_key or "" for d in claim(any_shop, limit=3)) == ["d", "e"]


def test_claimers_at_once_never_share_a_row_and_miss_none(any_shop: Shop) -> None:
    wanted = {any_shop.sign_up(key).id for key in range(60)}
    processes = [any_shop.another() for _ in range(5)]
    start = Barrier(len(processes))

    def drain(services: Services) -> list[int]:
        start.wait(30)
        mine: list[int] = []
        idle = 0
        while idle < 3:
            batch = claim(any_shop, services, limit=4)
            idle = 0 if batch else idle + 1
            mine += [delivery.id for delivery in batch]
            done = [(delivery, DONE, TAKEN) for delivery in batch]
            while done:
                # On MariaDB another's claim may be looking at a row that is ours.
                ended = services.supervisor.settling.settle(done, any_shop.clock.now())
                assert False not in ended
                done = [one for one, mine in zip(done, ended, strict=True) if mine is None]
        return mine

    with ThreadPoolExecutor(len(processes)) as pool:
        taken = Counter(number for mine in pool.map(drain, processes) for number in mine)
    assert set(taken) == wanted
    assert set(taken.values()) == {1}
    assert any_shop.statuses() == {"delivered": 60}
    assert any_shop.count_attempts() == 60


# -- the fence ------------------------------------------------------------------------------------


def test_an_expired_lease_is_claimed_again_and_the_stale_settle_changes_nothing(
    any_shop: Shop,
) -> None:
    any_shop.sign_up()
    (stale,) = claim(any_shop)
    any_shop.clock.advance(LEASE - timedelta(microseconds=1))
    assert claim(any_shop) == []
    any_shop.clock.advance(microseconds=1)
    (fresh,) = claim(any_shop)
    assert fresh.id == stale.id
    assert fresh.ambiguous_at == any_shop.clock.now()

    before = any_shop.row(), any_shop.attempts()
    assert settle(any_shop, stale) is False
    assert (any_shop.row(), any_shop.attempts()) == before

    assert settle(any_shop, fresh) is True
    first, second = any_shop.attempts()
    assert (first.closed_at, first.outcome) == (fresh.ambiguous_at, "ambiguous")
    assert second.outcome == "accepted"


def test_an_attempt_is_closed_exactly_once(any_shop: Shop) -> None:
    any_shop.sign_up()
    (claimed,) = claim(any_shop)
    assert settle(any_shop, claimed) is True
    before = any_shop.row(), any_shop.attempts()
    any_shop.clock.advance(seconds=5)
    later = Exchanged(outcome=Ambiguous(detail="late"), http_status=504)
    again = (claimed, Settlement(status=Status.REFUSED, detail="late"), later)
    assert any_shop.services.supervisor.settling.settle([again], any_shop.clock.now()) == [False]
    assert (any_shop.row(), any_shop.attempts()) == before


def test_what_is_given_back_has_used_no_attempt(any_shop: Shop) -> None:
    any_shop.sign_up()
    (claimed,) = claim(any_shop)
    any_shop.services.supervisor.settling.give_back([claimed], any_shop.clock.now())
    row = any_shop.row()
    assert (row.status, row.attempts, row.due_at) == (Status.PENDING, 0, any_shop.clock.now())
    assert any_shop.attempts() == []
    (again,) = claim(any_shop)
    assert (again.attempts, again.ambiguous_at) == (1, None)


def test_a_stale_worker_gives_nothing_back(any_shop: Shop) -> None:
    any_shop.sign_up()
    (stale,) = claim(any_shop)
    any_shop.clock.advance(LEASE)
    claim(any_shop)
    before = any_shop.row(), any_shop.attempts()
    any_shop.services.supervisor.settling.give_back([stale], any_shop.clock.now())
    assert (any_shop.row(), any_shop.attempts()) == before


# -- armed rows -----------------------------------------------------------------------------------


def test_a_released_row_is_due_at_once(any_shop: Shop) -> None:
    armed, token = arm(any_shop)
    assert claim(any_shop) == []
    any_shop.services.outbox.release(armed.id, token, any_shop.clock.now())
    assert any_shop.status(armed) is Status.PENDING
    assert [delivery.id for delivery in claim(any_shop)] == [armed.id]


def test_a_withdrawn_row_is_kept_with_its_reason_and_never_sent(any_shop: Shop) -> None:
    armed, token = arm(any_shop)
    any_shop.services.outbox.withdraw(armed.id, token, any_shop.clock.now(), "the view raised")
    row = any_shop.row(armed)
    assert (row.status, row.detail) == (Status.WITHDRAWN, "the view raised")
    any_shop.clock.advance(days=1)
    assert claim(any_shop) == []


def test_a_row_whose_view_died_is_due_when_its_lease_ends(any_shop: Shop) -> None:
    armed, token = arm(any_shop)
    any_shop.clock.advance(LEASE)
    (claimed,) = claim(any_shop)
    assert claimed.id == armed.id
    assert claimed.ambiguous_at is None, "nothing was sent before"
    any_shop.services.outbox.withdraw(armed.id, token, any_shop.clock.now(), "too late")
    any_shop.services.outbox.release(armed.id, token, any_shop.clock.now())
    assert any_shop.status(armed) is Status.SENDING


def test_another_view_neither_releases_nor_withdraws(any_shop: Shop) -> None:
    armed, _ = arm(any_shop)
    any_shop.services.outbox.release(armed.id, new_token(), any_shop.clock.now())
    any_shop.services.outbox.withdraw(armed.id, new_token(), any_shop.clock.now(), "not mine")
    assert any_shop.status(armed) is Status.ARMED


def test_a_withdrawn_customer_who_comes_again_is_sent(any_shop: Shop) -> None:
    armed, token = arm(any_shop)
    any_shop.services.outbox.withdraw(armed.id, token, any_shop.clock.now(), "the view raised")
    again = any_shop.sign_up("42", "click2")
    assert again.id == armed.id
    assert any_shop.drain() == 1


# -- deadlines ------------------------------------------------------------------------------------


def expire_overdue(shop: Shop) -> int:
    now = shop.clock.now()
    return shop.services.supervisor.overdue.expire(now, now)


def test_what_passed_its_deadline_expires_unless_somebody_holds_it(any_shop: Shop) -> None:
    for key in ("waits", "is held by a worker"):
        any_shop.sign_up(key)
        any_shop.clock.advance(seconds=1)
    arm(any_shop, "is held by a view")
    row = any_shop.services.supervisor.claims.claim(limit=1, now=any_shop.clock.now(), lease=LEASE)
    assert [delivery.customer_key for delivery in row] == ["waits"]
    any_shop.clock.advance(days=120)
    assert expire_overdue(any_shop) == 1
    assert any_shop.statuses() == {"sending": 1, "expired": 1, "armed": 1}
    assert expire_overdue(any_shop) == 0
