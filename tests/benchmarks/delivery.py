"""How fast a worker delivers, and how soon: `flask s2s work` as it is run in production.

Each figure against a baseline is taken in turns with it, several times in one run, and both are
medians: what else the machine does meets both. The network is a process of its own; so is every
worker, with its log in a file. A worker's time runs from its first claim to its last settle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from statistics import median
from time import monotonic, perf_counter

import requests
from sqlalchemy.orm import Session

from flask_s2s import Click, Services
from tests.benchmarks.figures import Delay, Figure, Measured
from tests.benchmarks.filling import fill
from tests.benchmarks.running import (
    TOKEN,
    Process,
    answering,
    arrivals,
    database,
    delivered,
    open_site,
    sandbox,
    worker,
)
from tests.waiting import wait_until

ROUNDS = 5
_EVERY = 1000
_ANSWERS: dict[object, str] = {
    sandbox: "to the stand-in network",
    answering: "to one that only answers",
}


def delivery() -> list[Figure]:
    """All figures of delivering."""
    return [
        _against_a_bare_loop("sqlite", sandbox, 32, goal=0.8),
        _against_a_bare_loop("postgresql", sandbox, 32, goal=1.0),
        _against_a_bare_loop("postgresql", sandbox, 8, goal=0.85),
        _against_a_bare_loop("postgresql", answering, 32),
        *_far_away(),
        _two_workers(),
        _embedded(),
        _separate(),
        _beside_poison(),
    ]


# -- throughput -----------------------------------------------------------------------------------


def _against_a_bare_loop(
    kind: str,
    network: Callable[[], AbstractContextManager[str]],
    in_flight: int,
    goal: float | None = None,
) -> Figure:
    """One worker, and a loop that only posts the same, one after the other."""
    ours, bare, busy = [], [], []
    with database(kind) as url, network() as address:
        site = open_site(url)
        with worker(url, address, in_flight) as process:
            _deliver(site, process, 200, "warm")
            _post(address, 200, "warm")
            for number in range(ROUNDS):
                bare.append(_post(address, _EVERY, f"bare{number}-"))
                rate, cpu = _deliver(site, process, _EVERY, f"ours{number}-")
                ours.append(rate)
                busy.append(cpu)
        site.close()
    ratio = median(one / other for one, other in zip(ours, bare, strict=True))
    rates = f"{median(bare):,.0f} -> {median(ours):,.0f} a second, worker's CPU {median(busy):.0%}"
    return Measured(
        what=f"{kind}, {in_flight} in flight",
        against=f"one worker to a bare requests.Session.post loop; {_ANSWERS[network]}",
        value=ratio,
        goal=goal,
        rest=rates,
    )


def _deliver(site: Services, process: Process, count: int, prefix: str) -> tuple[float, float]:
    """Let the workers deliver so many; return how many a second, and the CPU of one of them."""
    before = process.cpu()
    fill(site, count, prefix=prefix)
    seconds = delivered(site, count, prefix)
    return count / seconds, (process.cpu() - before) / seconds


def _post(network: str, count: int, prefix: str) -> float:
    """Post the same bodies in a loop; return how many a second."""
    body = {
        "xid": "a1B2c3D4e5F6g7",
        "customer_key": "",
        "email": "ada.rowe@example.com",
        "name": "Ada Rowe",
        "sub_ids": ["newsletter"],
    }
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with requests.Session() as session:
        began = perf_counter()
        for number in range(count):
            body["customer_key"] = f"{prefix}{number}"
            session.post(f"{network}/conversion/xid", json=body, headers=headers).raise_for_status()
        return count / (perf_counter() - began)


def _far_away() -> list[Figure]:
    """50 ms to the network and 64 in flight, on PostgreSQL."""
    with database("postgresql") as url, answering(50) as network:
        site = open_site(url)
        with worker(url, network, 64) as process:
            _deliver(site, process, 500, "warm")
            found = [_deliver(site, process, 3000, f"far{number}-") for number in range(3)]
        site.close()
    rate = median(rate for rate, _ in found)
    return [
        Measured(
            what="50 ms away, 64 in flight",
            against="PostgreSQL, one worker",
            value=rate,
            unit="/s",
            goal=1000,
            rest=f"worker's CPU {median(cpu for _, cpu in found):.0%} of a core",
        )
    ]


def _two_workers() -> Figure:
    """Two worker processes against one, each with 8 in flight."""
    one, two = [], []
    with database("postgresql") as url, answering(50) as network:
        site = open_site(url)
        with worker(url, network) as process:
            _deliver(site, process, 200, "warm")
            for number in range(3):
                one.append(_deliver(site, process, 600, f"one{number}-")[0])
                with worker(url, network):
                    _deliver(site, process, 100, f"warm{number}-")
                    two.append(_deliver(site, process, 1200, f"two{number}-")[0])
        site.close()
    return Measured(
        what="two workers, 50 ms away",
        against="one worker; PostgreSQL, 8 in flight each",
        value=median(b / a for a, b in zip(one, two, strict=True)),
        goal=1.9,
        rest=f"{median(one):,.0f} -> {median(two):,.0f} a second",
    )


# -- latency --------------------------------------------------------------------------------------


def _embedded() -> Figure:
    with database("sqlite") as url, answering() as network:
        site = open_site(url, S2S_PARTNERSTACK_URL=network)
        site.start_serving()
        spans = commit_to_post(site, network)
        site.close()
    return _delay("commit to post, embedded", "SQLite; a thread of the site delivers", spans)


def _separate() -> Figure:
    with database("postgresql") as url, answering() as network:
        site = open_site(url, S2S_WORKER="external")
        with worker(url, network):
            spans = commit_to_post(site, network)
        site.close()
    return _delay("commit to post, `work`", "PostgreSQL; a process of its own delivers", spans)


def _beside_poison(poison: int = 300, good: int = 30) -> Figure:
    """Sign-ups at one a second, beside many that the network always answers with a 500."""
    with database("postgresql") as url, answering() as network:
        site = open_site(url, S2S_WORKER="external")
        with worker(url, network):
            for number in range(poison):
                click = Click(click_id="a1B2c3D4e5F6g7", at=datetime.now(timezone.utc))
                site.track_signup(customer_key=f"poison{number}", click=click)
            spans = commit_to_post(site, network, good, every=1.0)
        site.close()
    against = f"PostgreSQL; beside {poison} that always get 500, which are due first"
    return Delay(
        what="commit to post, poison", against=against, budget=60_000.0, milliseconds=spans
    )


def _delay(what: str, against: str, spans: tuple[float, ...]) -> Figure:
    return Delay(what=what, against=against, budget=10.0, milliseconds=spans)


def commit_to_post(
    site: Services, network: str, count: int = 50, every: float = 0.15
) -> tuple[float, ...]:
    """Return the milliseconds from calling `commit` to the arrival of the last byte, each idle."""
    began: dict[str, float] = {}
    pause = threading.Event()
    with Session(site.storage.engine()) as session:
        for number in range(count + 5):
            click = Click(click_id="a1B2c3D4e5F6g7", at=datetime.now(timezone.utc))
            site.track_signup(customer_key=str(number), click=click, session=session)
            began[str(number)] = monotonic()
            session.commit()
            pause.wait(every)
    found: dict[str, float] = {}

    def all_there() -> bool:
        found.update(arrivals(network))
        return found.keys() >= began.keys()

    wait_until(all_there, 600, what="every arrival")
    # The first few open connections.
    return tuple((found[key] - began[key]) * 1000 for key in list(began)[5:])
