"""Ends processes by SIGKILL, and finds out what each had in its hands.

A third of the kills are aimed: they wait, a second at most, for a process whose marks say that a
request is under way. Where a kill really hit is read from the marks after the death.
"""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.chaos.books import SiteBooks
from tests.chaos.marks import ANSWERED, CLAIMED, COMMITTED, SENT, VIEW
from tests.chaos.plan import OwnClock, Plan
from tests.chaos.processes import Member, Supervisor, end
from tests.waiting import wait_until

#: What a process was doing -> how the report says it; the first that fits is a kill's stage.
STAGES = {
    SENT: "being sent, no answer yet",
    ANSWERED: "answered, not settled",
    CLAIMED: "claimed, nothing sent yet",
    COMMITTED: "user committed, page not answered",
    VIEW: "in the view, before the commit",
    "": "nothing in hand",
}
_UNDER_WAY = (SENT, ANSWERED)
#: How far a clock is ahead.
_AHEAD = (timedelta(days=1), timedelta(days=365))
#: Every so many kills the whole site is killed at once.
_WHOLE_SITE_EVERY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One SIGKILL. `keys` are of the posts that were between first byte and settle."""

    process: str
    stage: str
    whole_site: bool
    keys: frozenset[str]

    @property
    def between_first_byte_and_settle(self) -> bool:
        return self.stage in _UNDER_WAY


class Killer:
    """Kills the processes of one site."""

    def __init__(self, plan: Plan, supervisor: Supervisor, books: SiteBooks) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._books = books
        self._chance = random.Random(plan.seed)
        self._strikes = 0
        self.kills: list[Kill] = []
        self.whole_site_kills = 0
        #: When they were, by the run's clock.
        self.moments: list[datetime] = []
        #: How often one process's clock was ahead, and whose is now.
        self.jumps = 0
        self._ahead: OwnClock | None = None

    @property
    def ahead(self) -> bool:
        """Whether the clock of one process is ahead now."""
        return self._ahead is not None

    def jump(self) -> None:
        """Set the clock of one process a day or a year ahead, and the last one's right."""
        if self._ahead is not None:
            self._ahead.set_right()
            self._ahead = None
        else:
            self._ahead = self._plan.clock_of(self._chance.choice(self._supervisor.members).name)
            self._ahead.set_ahead(self._chance.choice(_AHEAD))
            self.jumps += 1

    def strike(self, at_most: int) -> None:
        """Kill one process, or all of them if that is not more than `at_most`."""
        self._strikes += 1
        everybody = self._supervisor.members
        if self._strikes % _WHOLE_SITE_EVERY == 0 and len(everybody) <= at_most:
            self.whole_site_kills += 1
            self._kill(everybody)
        elif self._strikes % 3 == 1:
            self._kill([self._aim()])
        else:
            self._kill([self._chance.choice(everybody)])

    def _aim(self) -> Member:
        """Wait for a member with a request under way; take any if none has one for a second."""
        members = list(self._supervisor.delivering)
        self._chance.shuffle(members)

        def busy() -> Member | None:
            return next((m for m in members if m.trail and m.trail.read().get(SENT)), None)

        try:
            return wait_until(busy, 1.0, interval=0.001) or members[0]
        except AssertionError:
            return members[0]

    def _kill(self, victims: list[Member]) -> None:
        end(victims, signal.SIGKILL)
        self.moments.append(self._plan.clock.now())
        for victim in victims:
            self.kills.append(self._autopsy(victim, len(victims) > 1))
            victim.start()

    def _autopsy(self, victim: Member, whole_site: bool) -> Kill:
        assert victim.trail is not None
        held = victim.trail.read()
        victim.trail.close()
        keys = frozenset().union(*(held.get(mark, set()) for mark in _UNDER_WAY))
        if keys and not self._books.any_sending(keys):
            # It was settled, and the mark of that came too late.
            held = {mark: found for mark, found in held.items() if mark not in _UNDER_WAY}
            keys = frozenset()
        stage = next(mark for mark in STAGES if not mark or held.get(mark))
        return Kill(process=victim.name, stage=stage, whole_site=whole_site, keys=keys)
