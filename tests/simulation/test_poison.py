"""Sign-ups that are always answered with a 500, and good ones beside them, in virtual time."""

from __future__ import annotations

from statistics import median

import pytest

from tests.simulation.database import Database
from tests.simulation.events import History, Record
from tests.simulation.play import Play
from tests.simulation.world import SECOND, START


def signups(names: list[str], times: list[float], first: int) -> list[Record]:
    return [
        Record(
            at=at, number=first + n, what="signup", customer=name, xid=f"xid-{name}", how="alone"
        )
        for n, (name, at) in enumerate(zip(names, times, strict=True))
    ]


@pytest.mark.parametrize("count", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_good_ones_wait_under_a_minute_at_the_median(database: Database, count: int) -> None:
    poison = [f"poison{number}" for number in range(count)]
    times = [60.0 + number * 300.0 for number in range(count // 8)]
    good = [f"good{number}" for number in range(len(times))]
    records = signups(poison, [number * 0.1 for number in range(count)], 0)
    records += signups(good, times, count)
    history = History(
        seed=1,
        events=tuple(sorted(records, key=lambda record: record.at)),
        skews=(0.0,) * 4,
        second_reward=False,
        lag=0.0,
        wakes=True,
    )
    database.empty()
    play = Play(history, database)
    play.network.poison.update(poison)
    assert play.run().violations == []
    customers = play.network.ledger.customers
    waits = [
        (customers[name].readable_at - START) / SECOND - at
        for name, at in zip(good, times, strict=True)
    ]
    assert median(waits) < 60
    assert max(waits) < 120
