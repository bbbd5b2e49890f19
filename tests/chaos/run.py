"""The course of a run: load under fire, a quarter of an hour later more of it, then peace.

What may not be repeated unasked (a payment whose answer was lost) waits until the network's records
can be read, so the second part comes when the clocks say that they can; and payments wait for their
customer's confirmation, so most of them are sent in the second part, under fire as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from tests.chaos.books import SiteBooks, compare, network_ledger
from tests.chaos.killer import Killer
from tests.chaos.plan import Plan
from tests.chaos.processes import PATIENCE, Supervisor
from tests.chaos.report import Report
from tests.chaos.site import create_site, prepare
from tests.chaos.visitors import Click, Visitors, follow_links, request
from tests.waiting import wait_until

_FIRST_PART = 0.7
_LATER = timedelta(minutes=16)
#: How often the clocks are set forward at most until nothing is left to do.
_STEPS = 20
_SETTLED_WITHIN = 900.0

FAULTS = (
    "too_many",
    "too_many_retry_after",
    "error_before_write",
    "error_after_write",
    "reset_before_write",
    "reset_after_write",
    "timeout_after_write",
    "html_page",
    "redirect",
)


class Run:
    """One run."""

    def __init__(self, plan: Plan, fail: Callable[[], None] | None = None) -> None:
        """`fail` makes the database's server fail: once, in the middle of the first part."""
        self._plan = plan
        self._fail = fail
        self._supervisor = Supervisor(plan)
        self._books = SiteBooks(plan)
        self._killer = Killer(plan, self._supervisor, self._books)
        self._endings: list[Visitors] = []
        #: When the database that was made to fail served again.
        self._served: datetime | None = None

    def __call__(self) -> Report:
        plan = self._plan
        began = monotonic()
        prepare(create_site(plan, plan.folder / "prepare.marks"))
        try:
            self._supervisor.start_network()
            wait_until(self._network_answers, PATIENCE)
            self._set_faults(plan.faults)
            self._start()
            clicks = follow_links(plan)
            middle = int(plan.conversions * _FIRST_PART)
            kills = round(plan.kills * _FIRST_PART)
            self._under_fire(clicks, range(middle), kills)
            self._later(_LATER)
            self._under_fire(clicks, range(middle, plan.conversions), plan.kills - kills)
            loaded = monotonic() - began
            self._set_faults(0.0)
            self._settle()
            return self._report(loaded, monotonic() - began)
        finally:
            self._supervisor.close()

    # -- the parts ----------------------------------------------------------------------------

    def _under_fire(self, clicks: list[Click], numbers: range, kills: int) -> None:
        """Let visitors come, and kill as they do, spread over all of them."""
        visitors = Visitors(self._plan, clicks, numbers, self._backlog)
        self._endings.append(visitors)
        done = len(self._killer.kills)
        visitors.start()
        fail, self._fail = self._fail, None
        while (killed := len(self._killer.kills) - done) < kills:
            if self._plan.clocks:
                self._killer.jump()
            wait_until(
                lambda share=(killed + 1) / (kills + 1): visitors.share_done >= share,  # type: ignore[misc]
                600.0,
                what="visitors",
            )
            if fail is not None and killed >= kills // 2:
                self._break(fail)
                fail = None
            self._killer.strike(kills - killed)
        if fail is not None:
            wait_until(lambda: visitors.share_done >= 0.5, 600.0, what="visitors")
            self._break(fail)
        visitors.join()
        if self._killer.ahead:
            self._killer.jump()
        if self._killer.moments:
            last = self._killer.moments[-1]
            wait_until(lambda: not self._books.orphans(last), PATIENCE, what="no orphans")

    def _break(self, fail: Callable[[], None]) -> None:
        """Let the database's server fail. What that orphans waits from then on, as after a kill."""
        fail()
        self._served = self._plan.clock.now()
        self._killer.moments.append(self._served)

    def _backlog(self) -> int:
        return self._books.due(self._plan.clock.now())

    def _settle(self) -> None:
        """Wait until nothing is left to do, now or later.

        With the ordinary lease: a quarter of it bounds the reading of the network's lists as well.
        """
        now = self._plan.clock.now
        self._plan.peace.touch()
        last: datetime | None = now()
        for _ in range(_STEPS):
            if last is None:
                return
            self._later(last - now() + timedelta(seconds=1))
            wait_until(
                lambda: not self._books.overdue(now()), _SETTLED_WITHIN, what="quiet", interval=0.2
            )
            wait_until(
                lambda: not self._books.put_off(now()), PATIENCE, what="what a clock put off"
            )
            last = self._books.last_moment()

    def _later(self, by: timedelta) -> None:
        """Stop the site, let time pass, start it again."""
        self._supervisor.stop()
        self._plan.clock.set_forward(max(by, timedelta(0)))
        self._start()

    def _start(self) -> None:
        self._supervisor.start()
        for port in self._plan.web_ports:
            wait_until(lambda port=port: self._answers(port), PATIENCE, what="the site")  # type: ignore[misc]

    # -- the network --------------------------------------------------------------------------

    def _answers(self, port: int, path: str = "/") -> bool:
        try:
            return request(port, "GET", path)[0] == 200
        except OSError:
            return False

    def _network_answers(self) -> bool:
        return self._answers(self._plan.network_port, "/sandbox/ledger?totals=1")

    def _set_faults(self, share: float) -> None:
        """Set all faults, each as often as the others; a repeated reward is a second one."""
        switches: dict[str, Any] = dict.fromkeys(FAULTS, share / len(FAULTS))
        switches |= {"repeated_reward": "second", "hold_seconds": 1.5}
        kind = {"Content-Type": "application/json"}
        port = self._plan.network_port
        status, _, answer = request(port, "PUT", "/sandbox/faults", json.dumps(switches), **kind)
        if status != 200:
            raise RuntimeError(answer.decode())

    # -- the end ------------------------------------------------------------------------------

    def _report(self, loaded: float, lasted: float) -> Report:
        users = self._books.users()
        ledger = network_ledger(self._plan)
        waited, careful = self._books.resumptions(self._killer.moments, self._served)
        endings = sum(
            (visitors.endings for visitors in self._endings), start=type(self._endings[0].endings)()
        )
        return Report(
            plan=self._plan,
            loaded=loaded,
            lasted=lasted,
            endings=endings,
            users=users,
            ledger=ledger,
            verdict=compare(users, ledger),
            statuses=self._books.statuses(),
            kills=self._killer.kills,
            jumps=self._killer.jumps,
            whole_site_kills=self._killer.whole_site_kills,
            waited=waited,
            careful=careful,
        )
