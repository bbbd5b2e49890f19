"""The lanes of an app: what each holds, how its tries went, why it rests and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..config.parsing import is_loopback
from ..networks.messages import SUCCESSES, NotThere, Refused
from ..networks.network import Network
from ..runtime.supervisor import Supervisor
from ..store.attempts import Attempts, LaneCount
from ..store.outbox.lanes import Closed

#: For how long the tries of a lane are counted.
LATELY = timedelta(minutes=15)
#: How long a lane may try without any answer that shows that it works, before that is an alarm.
PATIENCE = timedelta(minutes=5)
#: So many tries without one are a trouble of the lane, where it worked before.
_MANY = 5
#: Of so many tries at least this share is accepted where all is well (`S2SSuccessFalls` has it too).
_WELL = 0.8
#: Outcomes that only a lane has that works.
_WORKS = (*SUCCESSES, Refused.word, NotThere.word)


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane: what it holds, and why it is closed if it is."""

    count: LaneCount
    #: When it was looked at.
    now: datetime
    closed: Closed | None
    #: Since when what is open in it, and was tried, is tried in vain.
    trying_since: datetime | None = None
    #: Until when its network asked to be left alone, as far as workers have told.
    rests_until: datetime | None = None

    @property
    def state(self) -> str:
        """One word for it."""
        if self.closed is not None:
            return "paused" if self.closed.by_hand else "closed"
        if self.rests_until is not None:
            return "rests"
        if self.fails:
            return "fails"
        return "unsteady" if self.unsteady else "open"

    @property
    def until(self) -> datetime | None:
        """When it goes on, or is tried next; None: it is open, or waits for somebody."""
        if self.closed is None:
            return self.rests_until
        return None if self.closed.endless else self.closed.probe_at

    @property
    def reason(self) -> str | None:
        """Why nothing goes out in it."""
        if self.closed is not None:
            return self.closed.reason
        return None if self.rests_until is None else "asked to slow down"

    @property
    def accepted(self) -> int:
        """How many tries of the last minutes were accepted."""
        return sum(self.count.tries.get(word, 0) for word in SUCCESSES)

    @property
    def refused(self) -> int:
        """How many of them were refused for good."""
        return self.count.tries.get(Refused.word, 0)

    @property
    def tried(self) -> int:
        """How many were closed at all."""
        return sum(self.count.tries.values())

    @property
    def later(self) -> int:
        """How many of them are to be tried again."""
        return self.tried - self.accepted - self.refused

    @property
    def fails(self) -> bool:
        """Whether it is open, and nothing has come of any try for minutes."""
        if self.closed is not None or not self.tried or self.trying_since is None:
            return False
        if any(self.count.tries.get(word) for word in _WORKS):
            return False
        known_to_work = self.count.last_success is not None
        long = self.now - self.trying_since > PATIENCE
        return long and (not known_to_work or self.tried >= _MANY)

    @property
    def unsteady(self) -> bool:
        """Whether it is open, too many tries of the last minutes came to nothing, and some still wait."""
        return self.closed is None and self.trying_since is not None and self.poor

    @property
    def poor(self) -> bool:
        """Whether too many tries of the last minutes came to nothing, also where nothing waits any more.

        Not counted are those that a lane that works has as well: not there yet, and, where as many
        others are accepted, answered 404. Anybody can write a click ID into a link.
        """
        count, accepted = self.count, self.accepted
        judged = self.tried - count.tries.get(NotThere.word, 0)
        if count.not_found <= accepted:
            judged -= count.not_found
        return judged >= _MANY and accepted < _WELL * judged

    def described(self) -> dict[str, Any]:
        """Return it for JSON."""
        count = self.count
        return {
            "lane": count.lane,
            "state": self.state,
            "reason": self.reason,
            "since": None if self.closed is None else self.closed.since,
            "until": self.until,
            "due": count.due,
            "later": count.later,
            "oldest_due": count.oldest_due,
            "last_success": count.last_success,
            "tries": count.tries,
            "tried": self.tried,
            "accepted": self.accepted,
        }


def lanes_of(networks: Mapping[str, Network]) -> list[str]:
    """Return the lanes that an app sends in, each once."""
    return [name for network in networks.values() for name in network.lanes]


def stands_in(networks: Mapping[str, Network]) -> bool:
    """Say whether nothing goes to a live network: every lane ends on this machine."""
    every = [lane for network in networks.values() for lane in network.lanes.values()]
    return bool(every) and all(is_loopback(lane.base_url) for lane in every)


def read_with(networks: Mapping[str, Network]) -> str:
    """Name the settings that records are read with, of every network that has some."""
    reading = [(one, one.reading_lane) for one in networks.values()]
    lanes = [network.lanes[lane] for network, lane in reading if lane is not None]
    return ", or ".join(lane.settings for lane in lanes)


def lanes(supervisor: Supervisor, now: datetime) -> list[Lane]:
    """Return the lanes of an app, and all that something is recorded for."""
    closed = {breaker.lane: breaker for breaker in supervisor.breakers.closed()}
    since = supervisor.breakers.trying_since()
    rests: dict[str, datetime] = {}
    for worker in supervisor.workers.all():
        for lane, until in worker.rests.items():
            if until > now:
                rests[lane] = max(until, rests.get(lane, until))
    return [
        Lane(count, now, closed.get(count.lane), since.get(count.lane), rests.get(count.lane))
        for count in Attempts(supervisor.storage).lanes(lanes_of(supervisor.networks), now, LATELY)
    ]


def could_go(lanes: list[Lane]) -> datetime | None:
    """Return since when something is due in a lane that is open."""
    due = [lane.count.oldest_due for lane in lanes if lane.closed is None]
    return min((at for at in due if at is not None), default=None)
