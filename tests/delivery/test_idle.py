"""An idle worker's questions to its database: it polls less once notifications come through."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flask_s2s.threads import POLL, Waker
from tests.benchmarks.plans import caught
from tests.delivery.conftest import Opening

_WAITS = 30


class Noting(Waker):
    """Sleeps for no time but the clock's; stops after so many waits."""

    def __init__(self, *, heard: bool) -> None:
        super().__init__()
        self.heard = heard
        self.slept: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.slept.append(seconds)
        if len(self.slept) == _WAITS:
            self.stop()
        return self.stopped


@pytest.mark.parametrize("heard", [True, False])
def test_an_idle_worker_asks_one_question_each_time_it_polls(
    open_shop: Opening, heard: bool
) -> None:
    services = open_shop().another()
    waker = Noting(heard=heard)
    worker = services.supervisor.worker(poll=0.5)
    with caught(services.storage.engine()) as statements:
        worker.run(waker)
    assert set(waker.slept) == {POLL if heard else 0.5}
    asked = [sql for sql, _ in statements if sql.startswith("SELECT s2s_delivery.due_at")]
    assert len(asked) == _WAITS
    # All else, with what it does once at its start, is asked once for all the waits.
    assert len(statements) - len(asked) < _WAITS


def test_what_comes_due_meanwhile_goes_out_at_its_moment(open_shop: Opening) -> None:
    """Nobody wakes a worker for a retry: the poll says when to look again."""
    shop = open_shop()
    shop.sign_up("later")
    rows = shop.services.storage.tables.delivery
    with shop.services.storage.engine().begin() as connection:
        connection.execute(rows.update().values(due_at=shop.clock.now() + timedelta(seconds=3)))

    class Passing(Noting):
        def wait(self, seconds: float) -> bool:
            shop.clock.advance(seconds=seconds)
            return super().wait(0 if self._interrupted else seconds)

    waker = Passing(heard=True)
    shop.another().supervisor.worker(poll=0.5).run(waker)
    assert waker.slept[0] == 3.0
    assert shop.statuses() == {"delivered": 1}
