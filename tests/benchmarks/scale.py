"""The costs of claiming and adding with ten rows, and with a million settled and 100,000 waiting ones.

Both outboxes are open at once and take turns, so the machine is the same for both; each figure is a
median. A claim takes one due delivery, whose lease the next claim's time has ended: there is
always one to take. An add is one statement in a transaction that is committed after fifty. What
carries this, the index that each statement uses, is what the database itself says of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from statistics import median
from time import perf_counter

from flask_s2s import Click, Services, Signup
from flask_s2s.recording.draft import Drafts
from flask_s2s.rules.attribution import Attribution, Reason
from tests.benchmarks.figures import Figure, Measured
from tests.benchmarks.filling import analyse, fill
from tests.benchmarks.plans import plans_of
from tests.benchmarks.running import database, open_site

SETTLED, WAITING = 1_000_000, 100_000
FEW = 10
#: A statement that reads a row or two more pages of a deeper index may cost this much more.
GOAL = 1.5
_ROUNDS = 40
_LEASE = timedelta(seconds=60)

Step = Callable[[Services], Callable[[], float]]


def scale() -> list[Figure]:
    """Both statements, on each database."""
    return [figure for kind in ("sqlite", "postgresql", "mariadb") for figure in _on(kind)]


def _on(kind: str) -> list[Figure]:
    with database(kind) as small_url, database(kind) as large_url:
        small, large = open_site(small_url), open_site(large_url)
        fill(small, FEW, prefix="w")
        fill(large, SETTLED, prefix="s", settled=True)
        fill(large, WAITING, prefix="w")
        for site in (small, large):
            analyse(site.storage.engine())
        plans = plans_of(large)
        plans_of(small)
        steps: dict[str, Step] = {"claim": _Claiming, "next due": _Asking, "add": _Adding}
        figures = [
            _compared(f"{name}, {kind}", step(small), step(large), plans[name])
            for name, step in steps.items()
        ]
        small.close()
        large.close()
    return figures


class _Claiming:
    def __init__(self, site: Services) -> None:
        self._claims = site.supervisor.claims
        self._now = site.clock.now()

    def __call__(self) -> float:
        """Claim one, ten times; return the milliseconds of each."""
        began = perf_counter()
        for _ in range(10):
            self._now += _LEASE
            (_claimed,) = self._claims.claim(limit=1, now=self._now, lease=_LEASE)
        return (perf_counter() - began) * 100


class _Asking:
    def __init__(self, site: Services) -> None:
        self._claims = site.supervisor.claims

    def __call__(self) -> float:
        """Ask ten times when the next is due; return the milliseconds of each."""
        began = perf_counter()
        for _ in range(10):
            assert self._claims.next_due() is not None
        return (perf_counter() - began) * 100


class _Adding:
    def __init__(self, site: Services) -> None:
        self._site = site
        self._drafts = Drafts(site.settings, site.networks)
        self._count = 0

    def __call__(self) -> float:
        """Add fifty in one transaction; return the milliseconds of each."""
        now = self._site.clock.now()
        click = Attribution(Click(click_id="a1B2c3D4e5F6g7", at=now), Reason.COOKIE)
        began = perf_counter()
        with self._site.storage.engine().begin() as connection:
            for _ in range(50):
                self._count += 1
                signup = Signup(customer_key=f"added{self._count}")
                draft = self._drafts.draft(signup, click, now)
                self._site.outbox.add(connection, draft, signup.identity)
        return (perf_counter() - began) * 20


def _compared(
    what: str, small: Callable[[], float], large: Callable[[], float], plan: str
) -> Figure:
    few, many = [], []
    for number in range(_ROUNDS):
        pair = (small(), large())
        if number:  # the first round connects and compiles
            few.append(pair[0])
            many.append(pair[1])
    return Measured(
        what=what,
        against=plan,
        value=median(many) / median(few),
        goal=GOAL,
        at_most=True,
        rest=f"{median(few):.2f} -> {median(many):.2f} ms",
    )
