"""A run's figures, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import make_url

from flask_s2s.rules.states import OPEN
from tests.chaos.books import Verdict
from tests.chaos.killer import STAGES, Kill
from tests.chaos.plan import LEASE, Plan

#: The share of kills that is to hit between the first byte sent and the settle.
WANTED_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a run found."""

    plan: Plan
    #: Seconds until the last kill and the last visitor, and until nothing was left to do.
    loaded: float
    lasted: float
    #: How visitors' requests ended.
    endings: Counter[str]
    users: list[Any]
    ledger: dict[str, Any]
    verdict: Verdict
    #: Deliveries by kind and status.
    statuses: dict[str, Counter[str]]
    kills: list[Kill]
    whole_site_kills: int
    #: How often the clock of one process was ahead.
    jumps: int
    #: Seconds that orphaned sign-ups waited for their next attempt while the site worked.
    waited: list[float]
    #: Orphaned attempts at what may not be repeated unasked.
    careful: int

    @property
    def limit(self) -> float:
        """How long an orphan may wait."""
        return float(LEASE)

    @property
    def between(self) -> int:
        """Kills between the first byte sent and the settle."""
        return sum(kill.between_first_byte_and_settle for kill in self.kills)

    @property
    def good(self) -> bool:
        """Whether nothing was lost or doubled, and every orphan was resumed."""
        resumed = max(self.waited, default=0.0) < float("inf")
        return self.verdict.clean and resumed and not self.open

    @property
    def open(self) -> int:
        """Deliveries that are not settled at the end."""
        return sum(counts[status] for counts in self.statuses.values() for status in OPEN)

    @property
    def late(self) -> int:
        """Orphans that waited longer than the limit."""
        return sum(seconds > self.limit for seconds in self.waited)

    def _waits(self) -> dict[str, float]:
        """Return how long orphans waited; nothing where clocks were ahead, which is what counts it."""
        if self.plan.clocks:
            return {}
        return {
            "longest_wait": round(max(self.waited, default=0.0), 3),
            "median_wait": round(median(self.waited or [0.0]), 3),
            "limit": self.limit,
            "late": self.late,
        }

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""
        posts = self.ledger["conversion_posts"]
        return {
            "database": make_url(self.plan.database).get_backend_name(),
            "failover": self.plan.failover,
            "seed": self.plan.seed,
            "faults": self.plan.faults,
            "workers": self.plan.workers,
            "seconds": {"load": round(self.loaded, 1), "total": round(self.lasted, 1)},
            "signups_tried": self.endings.total(),
            "requests": dict(self.endings),
            "committed": {
                "signups": len(self.users),
                "transactions": sum(user.pays for user in self.users),
                "actions": sum(user.acts for user in self.users),
                "by_door": dict(Counter(user.door for user in self.users)),
            },
            "on_record": {
                "customers": len(self.ledger["customers"]),
                "transactions": len(self.ledger["transactions"]),
                "actions": len(self.ledger["actions"]),
            },
            "accepted_posts": len(self.ledger["accepted_posts"]),
            "posts": sum(posts.values()),
            "deliveries": {kind: dict(counts) for kind, counts in sorted(self.statuses.items())},
            "lost": self.verdict.lost,
            "twice": self.verdict.twice,
            "invented": self.verdict.invented,
            "misattributed": self.verdict.misattributed,
            "kills": len(self.kills),
            "whole_site_kills": self.whole_site_kills,
            "clocks_ahead": self.jumps,
            "kills_by_stage": {words: self._hits(mark) for mark, words in STAGES.items()},
            "kills_between_first_byte_and_settle": self.between,
            "orphans": {
                "signups": len(self.waited),
                "others": self.careful,
                **self._waits(),
            },
            "open": self.open,
            "good": self.good,
        }

    def _hits(self, mark: str) -> int:
        return sum(kill.stage == mark for kill in self.kills)

    def as_text(self) -> str:
        """Return the figures as a table."""
        return "\n".join(f"{name:<38}{value}" if value else name for name, value in self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        figures = self.as_json()
        committed, record = figures["committed"], figures["on_record"]
        yield f"Chaos on {figures['database']}, seed {self.plan.seed}", ""
        where = f"{self.plan.workers} workers" if self.plan.workers else "embedded workers"
        yield "  site", f"{len(self.plan.web_ports)} web processes, {where}, lease {LEASE} s"
        if self.plan.failover:
            yield "  database", f"its primary failed once ({self.plan.failover})"
        yield "  network", f"{self.plan.faults:.0%} of all requests meet a fault"
        yield "  took", f"{self.loaded:.0f} s under fire, {self.lasted:.0f} s in all"
        yield "Visitors", ""
        for ending, count in self.endings.most_common():
            yield f"  {ending}", f"{count:>7,}"
        yield "Ledger", f"{'committed':>9}  {'on record':>9}"
        yield "  sign-ups", f"{committed['signups']:>9,}  {record['customers']:>9,}"
        for kind in ("transactions", "actions"):
            yield f"  {kind}", f"{committed[kind]:>9,}  {record[kind]:>9,}"
        yield "  accepted / posts sent", f"{figures['accepted_posts']:,} / {figures['posts']:,}"
        for kind, counts in figures["deliveries"].items():
            yield f"  here, {kind}", ", ".join(f"{n:,} {s}" for s, n in sorted(counts.items()))
        yield f"Kills ({self.whole_site_kills} times the whole site)", f"{len(self.kills):>7,}"
        for words, count in figures["kills_by_stage"].items():
            yield f"  {words}", f"{count:>7,}"
        share = self.between / len(self.kills) if self.kills else 0.0
        yield "  between first byte and settle", f"{self.between:>7,}  ({share:.0%})"
        orphans = figures["orphans"]
        if self.plan.clocks:
            yield "Times that a process's clock was ahead", f"{self.jumps:>7,}"
        yield "Orphaned attempts", f"{orphans['signups']:>7,} sign-ups, {orphans['others']} others"
        if not self.plan.clocks:
            longest = f"{orphans['longest_wait']:.2f} s (median {orphans['median_wait']:.2f} s)"
            yield "  longest until claimed again", longest
            yield f"  longer than {self.limit:.1f} s", f"{self.late:>7,}"
        yield "Verdict", "good" if self.good else "NOT GOOD"
        yield "  still open", f"{self.open:>7,}"
        for name in ("lost", "twice", "invented", "misattributed"):
            found = figures[name]
            yield f"  {name}", f"{len(found):>7,}  {' '.join(found[:5])}"
