"""Acts of people: what one would change and send, a credit by hand, and what became of an act on many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..click import Click
from ..conversion import Signup
from ..errors import StorageError
from ..networks.messages import Secret
from ..networks.network import lane_of, report_of
from ..rules.attribution import Attribution, Reason
from ..rules.delivery import Delivery
from ..rules.states import ALARMING, OPEN, Status
from ..services import Services
from ..store.audit import Entry
from ..store.outbox.ledger import Act, Wanted
from ..store.queries import Queries
from .words import GROUP_OF, Group

#: The act that sends again.
RETRY: Act = "retry"
#: The act that asks the network for its record of what was accepted.
VERIFY = "verify"
#: Of so many at most an entry knows which they were, and whose.
_NOTED = 1000
_FAILED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An act, and its deliveries by group."""

    entry: Entry
    groups: dict[Group, int]
    #: How many have no work left.
    settled: int

    @property
    def number(self) -> int:
        """How many of them are known, and still here."""
        return sum(self.groups.values())

    @property
    def open(self) -> int:
        """How many have work left."""
        return self.number - self.settled

    @property
    def further(self) -> int:
        """How many more it was than the entry names."""
        whole = self.entry.detail.get("deliveries")
        return max(0, whole - len(self.entry.ids)) if isinstance(whole, int) else 0


def meant(services: Services, act: Act, wanted: Wanted) -> tuple[set[str], list[int]]:
    """Return whose deliveries an act would change, and which, as far as that is noted."""
    first = services.ledger.first(wanted, _NOTED, act)
    customers = {one.customer_key for one in first if one.customer_key is not None}
    return customers, [one.id for one in first]


def will_happen(services: Services, counted: Mapping[tuple[str, str, str], int]) -> list[str]:
    """Say what happens with what is sent again, counted by status, kind and network."""
    settings = services.settings
    throttle = f"at most {settings.rate:g} a second" if settings.rate else "at once"
    told = [f"They go out {throttle}, and are given up {settings.give_up.days} days from now."]
    if any(status == Status.MISSING.value for status, _, _ in counted):
        told.append("What is missing is looked for before it is sent, where a repeat may count.")
    networks = services.networks
    lanes = {lane_of(networks[n], kind) for _, kind, n in counted if n in networks}
    for closed in services.supervisor.breakers.closed():
        if closed.lane in lanes:
            told.append(f"{closed.lane} is closed ({closed.reason}): those wait until it opens.")
    return told


def would_send(services: Services, delivery: Delivery) -> dict[str, Any] | None:
    """Return the request that a delivery is sent by, as it would be made now: without its secret.

    None where nothing can be sent of it.
    """
    network = services.networks.get(delivery.network)
    if delivery.conversion is None or network is None:
        return None
    report = report_of(network, delivery.conversion, delivery.click)
    request = network.request(report, Secret(""))
    return {"method": request.method, "url": request.url, "body": request.body}


def credit_by_hand(services: Services, customer_key: str, click: Click) -> Delivery | None:
    """Give a customer's unattributed sign-up a click by hand, or record it; None: it has one."""
    ledger, settings = services.ledger, services.settings
    if reviewed := ledger.under_review(customer_key):
        now = services.clock.now()
        if not ledger.credit(reviewed[0], click, now, settings.give_up, dry_run=settings.dry_run):
            return None
        services.supervisor.wake()
        found = ledger.get(reviewed[0].id)
        return None if found is None else found[0]
    signup = Signup(customer_key=customer_key)
    recorded = services.recorder.alone(signup, Attribution(click, Reason.CREDITED))
    if not recorded:
        raise StorageError("The database did not take the credit", "Try it again.")
    if recorded.click != click or recorded.reason != Reason.CREDITED.value:
        return None
    return recorded


def progress(services: Services, entry: Entry) -> Progress:
    """Return how the deliveries of an act stand."""
    groups = dict.fromkeys(Group, 0)
    settled = 0
    for status, number in Queries(services.storage, services.outbox).statuses_of(entry.ids).items():
        groups[GROUP_OF[status]] += number
        settled += 0 if status in OPEN else number
    return Progress(entry=entry, groups=groups, settled=settled)


def failed_again(services: Services, entry: Entry) -> list[Delivery]:
    """Return the newest of an act's deliveries that a person must deal with once more."""
    return Queries(services.storage, services.outbox).among(entry.ids, ALARMING, _FAILED)
