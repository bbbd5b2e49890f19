"""PostgreSQL fails over while visitors sign up and a worker delivers: nothing is lost or doubled."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import pytest

from flask_s2s import Click, Services, Settings
from flask_s2s.testing import ScriptedTransport
from flask_s2s.threads import Waker
from tests.chaos.failover import address, demote, kill
from tests.private import Pair
from tests.waiting import wait_until

pytestmark = [pytest.mark.service, pytest.mark.slow]

_VISITORS = 4
#: Sign-ups of each visitor before the failover, and after it.
_BEFORE, _AFTER = 15, 15


@contextmanager
def delivering(services: Services) -> Iterator[None]:
    waker = Waker()
    thread = threading.Thread(target=lambda: services.supervisor.work(waker, poll=0.2), daemon=True)
    thread.start()
    yield
    waker.stop()
    thread.join(60)
    assert not thread.is_alive()


class Visitors:
    """Threads that sign up, each a few customers before the failover, and a few after it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._met, self._go = threading.Barrier(_VISITORS + 1), threading.Event()
        self.reported: list[str] = []
        self.threads = [threading.Thread(target=self._visit, args=(n,)) for n in range(_VISITORS)]

    def _visit(self, number: int) -> None:
        for count in range(_BEFORE + _AFTER):
            if count == _BEFORE:
                self._met.wait(120)
                self._go.wait(120)
            key = f"customer-{number}-{count}"
            click = Click(click_id=f"click-{key}", at=datetime.now(timezone.utc))
            self._services.track_signup(customer_key=key, click=click)
            self.reported.append(key)

    def halfway(self) -> None:
        self._met.wait(120)

    def go_on(self) -> None:
        self._go.set()
        for thread in self.threads:
            thread.join(120)


@pytest.mark.parametrize("fail", [demote, kill])
def test_a_failover_loses_and_doubles_nothing(pair: Pair, fail: object) -> None:
    pair.start_standby()
    network = ScriptedTransport()
    settings = Settings.from_mapping(
        {"SECRET_KEY": "k" * 32, "S2S_TOKEN": "token", "S2S_DATABASE_URI": address(pair)}
    )
    services = Services.build(settings, transport=network)
    services.storage.create()
    services.supervisor.prepare()
    visitors = Visitors(services)
    with delivering(services):
        for thread in visitors.threads:
            thread.start()
        visitors.halfway()
        fail(pair)  # type: ignore[operator]
        visitors.go_on()

        def posts() -> Counter[str]:
            return Counter(str((one.body or {})["customer_key"]) for one in network.requests)

        wait_until(lambda: posts().keys() >= set(visitors.reported), 120)
    assert len(visitors.reported) == _VISITORS * (_BEFORE + _AFTER)
    assert services.supervisor.summary().counts == {"delivered": len(visitors.reported)}
    # An attempt whose settle the failover cut off may repeat a sign-up, which does no harm.
    repeats = sum(posts().values()) - len(visitors.reported)
    print(f"{len(visitors.reported)} sign-ups, {repeats} repeated")  # noqa: T201 - for the run by hand
    assert repeats <= settings.concurrency
    services.close()
