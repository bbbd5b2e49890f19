"""The pages' contents as values: asked of the queries and reports, kept for a moment.

Ten open tabs that renew themselves cost what one costs: an answer is kept for five seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from threading import Lock
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy.exc import SQLAlchemyError

from ..errors import S2SError, TooSlow
from ..operations.acts import RETRY, Progress, progress
from ..operations.causes import ALIKE
from ..operations.check import TEST_ALARM, Level, check, outstanding
from ..operations.check.findings import Finding
from ..operations.fraud import Suspicion, suspicion
from ..operations.lanes import LATELY as LATELY
from ..operations.lanes import Lane, lanes, stands_in
from ..operations.period import Period
from ..operations.report import Line, Overview, overview, partners, sub_ids
from ..rules.states import OPEN, Status
from ..services import Services
from ..store.attempts import Attempts
from ..store.queries import Grouped, Queries, Wanted
from ..store.sums import Cause, Sums

T = TypeVar("T")
#: How long back what was sent again is shown, and how much of it.
SENT_LATELY = timedelta(days=7)
_ACTS = 10
_KEPT = 5.0
#: How long a statement of a page may take, in seconds: what takes longer is left out.
LIMIT = 2.0
#: How many partners a table or a choice has.
MOST_PARTNERS = 200


class Model:
    """Reads the contents of the pages, of whichever app is asked."""

    def __init__(self, services: Callable[[], Services]) -> None:
        """`services` returns the current app's."""
        self._current = services
        #: What was answered, by app: when it is too old, and the answer.
        self._kept: WeakKeyDictionary[Services, dict[Hashable, tuple[float, object]]] = (
            WeakKeyDictionary()
        )
        self._lock = Lock()

    @property
    def services(self) -> Services:
        """The services of the current app."""
        return self._current()

    @property
    def queries(self) -> Queries:
        """The questions of lists, each answered in time or not at all (`TooSlow`)."""
        return Queries(self.services.storage, self.services.outbox, LIMIT)

    @property
    def sums(self) -> Sums:
        """The sums of reports, with the same limit."""
        return Sums(self.services.storage, LIMIT)

    @property
    def now(self) -> datetime:
        """The time, by the app's clock."""
        return self.services.clock.now()

    @property
    def local(self) -> datetime:
        """The same in the zone of the reports."""
        return self.now.astimezone(self._zone)

    @property
    def _zone(self) -> tzinfo:
        return self.services.settings.report_zone

    def overview(self, period: Period) -> Overview | None:
        """Return the period at a glance; None: it is not counted in time."""
        with suppress(TooSlow):
            return self._for_a_moment(
                ("overview", period), _KEPT, lambda: overview(self.sums, period)
            )
        return None

    def by_status(self, wanted: Wanted) -> dict[str, int] | None:
        """Count what a list would show; None: it is not counted in time."""
        with suppress(TooSlow):
            return self.queries.by_status(wanted)
        return None

    def partners(self, period: Period, partner: str | None = None) -> list[Line]:
        """Return each partner's part of the period; of one alone, or of all."""
        return self._for_a_moment(
            ("partners", period, partner),
            _KEPT,
            lambda: partners(self.sums, period, partner),
        )

    def partner_keys(self, period: Period) -> list[str]:
        """Return the partners that a list of the period can be narrowed to; none in time: no choice."""
        since, until = period.since, period.until
        with suppress(TooSlow):
            return self._for_a_moment(
                ("partner_keys", period),
                60.0,
                lambda: self.sums.partner_keys(since, until, MOST_PARTNERS),
            )
        return []

    def sub_ids(self, partner: str, period: Period, place: int) -> list[Line]:
        """Return one partner's part by the sub ID in one place."""
        return self._for_a_moment(
            ("sub_ids", partner, period, place),
            _KEPT,
            lambda: sub_ids(self.sums, partner, period, place),
        )

    def suspicion(self, period: Period) -> Suspicion:
        """Return what is known of partners that are too good to be true."""
        return self._for_a_moment(
            ("suspicion", period), _KEPT, lambda: suspicion(self.services.storage, period, LIMIT)
        )

    def around(self) -> dict[str, Any]:
        """Return what stands on each page; without what cannot be read: a page that says so has it too."""
        shown: dict[str, Any] = {"menu_failed": 0, "unpaid": ""}
        with suppress(SQLAlchemyError, S2SError):
            shown["menu_failed"] = self.failed()
        with suppress(SQLAlchemyError, S2SError):
            shown["unpaid"] = self.unpaid()
        return shown

    def problems(self) -> list[Finding]:
        """Return what needs attention, with the sentences of `flask s2s check`."""
        return self._for_a_moment("problems", _KEPT, lambda: outstanding(self.services, self._zone))

    def unpaid(self) -> str:
        """Say why nobody is paid for what is recorded; empty: as far as is known, somebody is."""
        if stands_in(self.services.networks):
            return "This is a stand-in for the network, on this machine: nobody is paid for these."
        seen = self._for_a_moment(
            "test", _KEPT, self.services.supervisor.verification_queue.test_seen
        )
        if seen is None or self.now - seen > TEST_ALARM:
            return ""
        return "TEST: nobody is paid for these. The network’s own record says that they are tests."

    def findings(self) -> list[Finding]:
        """Return what `flask s2s check` finds; it asks the network, so at most once a minute."""
        return self._for_a_moment("findings", 60.0, lambda: check(self.services, zone=self._zone))

    def renew(self) -> None:
        """Keep no answer: something was changed, or is to be looked at again."""
        with self._lock:
            self._kept.pop(self.services, None)

    def failed(self) -> int:
        """Count what was given up on in the last 30 days, and nobody has acknowledged."""
        return sum(cause.unknown for cause in self.causes(Period.named("30d", self.local)))

    def causes(self, period: Period) -> list[Cause]:
        """Group what was given up on by its cause."""
        return self._for_a_moment(
            ("causes", period), _KEPT, lambda: self.sums.causes(period.since, period.until, ALIKE)
        )

    def sent_again(self) -> list[Progress]:
        """Return the last times that somebody had many sent again, and what became of them."""
        return self._for_a_moment("sent_again", _KEPT, self._sent_again)

    def _sent_again(self) -> list[Progress]:
        lately = self.now - SENT_LATELY
        acts = self.services.audit.newest(_ACTS, RETRY)
        return [progress(self.services, one) for one in acts if one.ids and one.at > lately]

    def waiting(self) -> tuple[list[Grouped], int]:
        """Group what is still to be sent by its last word, the most first; count what waits for another.

        The word of what waits for another names that other one: it is no group.
        """
        return self._for_a_moment("waiting", _KEPT, self._waiting)

    def _waiting(self) -> tuple[list[Grouped], int]:
        others = tuple(one for one in OPEN if one != Status.WAITING.value)
        dependent = self.queries.open_by_status().get(Status.WAITING.value, 0)
        return self.queries.grouped(Wanted(statuses=others), "error", ALIKE), dependent

    def lanes(self) -> list[Lane]:
        """Return the lanes with what they hold."""
        return self._for_a_moment("lanes", _KEPT, lambda: lanes(self.services.supervisor, self.now))

    def tries(self, since: datetime) -> dict[tuple[datetime, str], int]:
        """Count the tries since then, by minute and outcome."""
        return Attempts(self.services.storage).by_minute(since)

    def _for_a_moment(self, name: Hashable, seconds: float, ask: Callable[[], T]) -> T:
        with self._lock:
            kept = self._kept.setdefault(self.services, {})
            at, value = kept.get(name, (0.0, None))
            if at > monotonic():
                return value  # type: ignore[return-value]
        value = ask()
        with self._lock:
            if len(kept) > 200:
                kept.clear()
            kept[name] = (monotonic() + seconds, value)
        return value


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Return findings with the errors in front."""
    order = {Level.ERROR: 0, Level.NOTE: 1, Level.OK: 2}
    return sorted(findings, key=lambda finding: order[finding.level])
