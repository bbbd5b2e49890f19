"""The pages' contents as values: asked of the queries and reports, kept for a moment.

Ten open tabs that renew themselves cost what one costs: an answer is kept for five seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from threading import Lock
from time import monotonic
from typing import TypeVar

from ..click import Click
from ..conversion import Signup
from ..errors import TooSlow
from ..operations.acts import RETRY, Progress, progress
from ..operations.check import TEST_ALARM, Level, check, outstanding
from ..operations.check.findings import Finding
from ..operations.fraud import Suspicion, suspicion
from ..operations.lanes import LATELY as LATELY
from ..operations.lanes import Lane, attempts_of, lanes, queries_of, stands_in, sums_of
from ..operations.period import Period
from ..operations.report import Line, Overview, overview, partners, sub_ids
from ..operations.story import bound_to, deliveries_of
from ..rules.attribution import Reason, sentence
from ..rules.delivery import Delivery
from ..rules.states import OPEN, Status
from ..services import Services
from ..store.audit import Entry
from ..store.bindings import Bound
from ..store.queries import Grouped, Wanted
from ..store.sums import Cause
from . import formats

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
    """Reads the contents of one app's pages."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.queries = queries_of(services, LIMIT)
        self.sums = sums_of(services, LIMIT)
        self.attempts = attempts_of(services)
        self._kept: dict[Hashable, tuple[float, object]] = {}
        self._lock = Lock()

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
            ("suspicion", period), _KEPT, lambda: suspicion(self.services, period, LIMIT)
        )

    def problems(self) -> list[Finding]:
        """Return what needs attention, with the sentences of `flask s2s check`."""
        return self._for_a_moment("problems", _KEPT, lambda: outstanding(self.services, self._zone))

    def unpaid(self) -> str:
        """Say why nobody is paid for what is recorded; empty: as far as is known, somebody is."""
        if stands_in(self.services):
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
            self._kept.clear()

    def failed(self) -> int:
        """Count what was given up on in the last 30 days, and nobody has acknowledged."""
        return sum(cause.unknown for cause in self.causes(Period.named("30d", self.local)))

    def causes(self, period: Period) -> list[Cause]:
        """Group what was given up on by its cause."""
        return self._for_a_moment(
            ("causes", period), _KEPT, lambda: self.sums.causes(period.since, period.until)
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
        return self.queries.grouped(Wanted(statuses=others), "error"), dependent

    def lanes(self) -> list[Lane]:
        """Return the lanes with what they hold."""
        return self._for_a_moment("lanes", _KEPT, lambda: lanes(self.services))

    def _for_a_moment(self, name: Hashable, seconds: float, ask: Callable[[], T]) -> T:
        with self._lock:
            at, value = self._kept.get(name, (0.0, None))
            if at > monotonic():
                return value  # type: ignore[return-value]
        value = ask()
        with self._lock:
            if len(self._kept) > 200:
                self._kept.clear()
            self._kept[name] = (monotonic() + seconds, value)
        return value


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to a customer."""

    at: datetime
    #: A click that was brought, or a conversion.
    click: Click | None = None
    delivery: Delivery | None = None
    #: Whether the click is the one that counts.
    credited: bool = False
    #: How long after the step before.
    gap: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer's story, oldest first."""

    key: str
    steps: list[Step]
    signup: Delivery | None
    #: What would have been different, in sentences; none where somebody is credited.
    otherwise: list[str]
    #: currency -> (paid, refunded), of what is credited.
    money: dict[str, tuple[int, int]]
    #: The clicks that their address or ID was bound to.
    bound: list[Bound]
    #: What somebody did about them by hand, newest first.
    acts: list[Entry]


def customer(model: Model, key: str) -> Customer | None:
    """Return a customer's story; None where nothing is on record."""
    services = model.services
    found = deliveries_of(services, key)
    if not found:
        return None
    signup = next((one for one in found if one.kind == Signup.kind), None)
    touches = services.ledger.touches(key)
    steps = [Step(one.created_at, delivery=one) for one in found]
    if signup is not None:
        if signup.click is not None:
            steps.append(Step(signup.click.at, click=signup.click, credited=True))
        steps += [Step(touch.at, click=touch) for touch in touches.get(signup.id, ())]
    return Customer(
        key=key,
        steps=_with_gaps(sorted(steps, key=lambda step: (step.at, step.click is None))),
        signup=signup,
        otherwise=_otherwise(model, signup, touches),
        money=_money(found),
        bound=bound_to(services, key, found),
        acts=services.audit.of(key),
    )


def _with_gaps(steps: list[Step]) -> list[Step]:
    gaps = [step.at - before.at for before, step in pairwise(steps)]
    return [
        replace(step, gap=gap if gap >= timedelta(hours=1) else None)
        for step, gap in zip(steps, [timedelta(0), *gaps], strict=True)
    ]


def _money(deliveries: list[Delivery]) -> dict[str, tuple[int, int]]:
    money: dict[str, tuple[int, int]] = {}
    for one in deliveries:
        if one.amount is not None and one.currency is not None:
            paid, refunded = money.get(one.currency, (0, 0))
            if one.amount > 0:
                money[one.currency] = (paid + one.amount, refunded)
            else:
                money[one.currency] = (paid, refunded + one.amount)
    return money


def _otherwise(
    model: Model, signup: Delivery | None, touches: Mapping[int, Sequence[Click]]
) -> list[str]:
    """Say what would have been different, for a sign-up that nobody is credited for."""
    if signup is None or signup.status is not Status.UNATTRIBUTED:
        return []
    said = {
        Reason.EXPIRED.value: _too_late(model, signup, touches.get(signup.id, ())),
        Reason.NO_CLICK.value: [
            "A partner’s link, opened in this browser before the sign-up, would have been credited.",
            "Where the visitor came by one and the cookie was lost, s2s.identify() at an earlier "
            "form keeps the click.",
        ],
        Reason.CONSENT_DENIED.value: [
            "The visitor denied consent, so no click was kept. That is their choice."
        ],
        Reason.CONSENT_PENDING.value: [
            "The visitor had not answered the question for consent when they signed up."
        ],
        Reason.OUTSIDE_REQUEST.value: [
            "The sign-up was recorded outside a visitor’s request. Pass the click: "
            "track_signup(..., click=...)."
        ],
        Reason.RULE.value: [
            "The site’s own rule (S2S_RULE) decided it: " + (signup.detail or "no words of its own")
        ],
        Reason.TOKEN_USED.value: [
            "The link that carried the click had been used by another customer before."
        ],
    }.get(signup.reason, [sentence(signup.reason)])
    return [
        *said,
        "If the partner is right all the same, credit by hand: the sign-up and its payments go out.",
    ]


def _too_late(model: Model, signup: Delivery, touches: Sequence[Click]) -> list[str]:
    """Say until when a click would have counted, where one is known."""
    window = model.services.settings.window_of(signup.network)
    said = [f"A click counts for {formats.span(window)} (S2S_WINDOW), and this one was older."]
    until = max((touch.at + window for touch in touches), default=None)
    # A window that was made longer since did not count then.
    if until is not None and until <= signup.created_at:
        by, moment = signup.created_at - until, formats.clock(until, model.local)
        said.append(f"It counted until {moment}: the sign-up came {formats.span(by)} later.")
    return [*said, "A longer window would do it for the next customer."]


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Return findings with the errors in front."""
    order = {Level.ERROR: 0, Level.NOTE: 1, Level.OK: 2}
    return sorted(findings, key=lambda finding: order[finding.level])
