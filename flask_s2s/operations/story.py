"""One customer's story: the clicks, the conversions, and what somebody did about them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from ..click import Click
from ..conversion import Signup
from ..rules.delivery import Delivery
from ..rules.identity import identities
from ..services import Services
from ..store.audit import Entry
from ..store.bindings import Bound


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerStory:
    """One customer's story, oldest first."""

    key: str
    steps: list[Step]
    signup: Delivery | None
    #: The sign-up's other clicks.
    touches: Sequence[Click]
    #: currency -> (paid, refunded), of what is credited.
    money: dict[str, tuple[int, int]]
    #: The clicks that their address or ID was bound to.
    bound: list[Bound]
    #: What somebody did about them by hand, newest first.
    acts: list[Entry]


def story_of(services: Services, customer: str) -> CustomerStory | None:
    """Return a customer's story; None where nothing is on record."""
    found = deliveries_of(services, customer)
    if not found:
        return None
    signup = next((one for one in found if one.kind == Signup.kind), None)
    touches: Sequence[Click] = ()
    steps = [Step(one.created_at, delivery=one) for one in found]
    if signup is not None:
        if signup.click is not None:
            steps.append(Step(signup.click.at, click=signup.click, credited=True))
        touches = services.ledger.touches(customer).get(signup.id, ())
        steps += [Step(touch.at, click=touch) for touch in touches]
    return CustomerStory(
        key=customer,
        steps=_with_gaps(sorted(steps, key=_in_order)),
        signup=signup,
        touches=touches,
        money=_money(found),
        bound=bound_to(services, customer, found),
        acts=services.audit.of(customer),
    )


def _in_order(step: Step) -> tuple[datetime, int]:
    return step.at, 0 if step.delivery is None else step.delivery.id


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


def deliveries_of(services: Services, customer: str) -> list[Delivery]:
    """Return all that a customer has, newest first: also what was emptied since."""
    with services.storage.engine().connect() as connection:
        signup = services.outbox.hashed(connection, (Signup.kind, customer.strip()))
        sealed = services.outbox.seals.of(connection, signup)
    known = [signup] if sealed is None else [signup, sealed]
    return services.ledger.of_customer(customer, known, services.networks)


def bound_to(services: Services, customer: str, found: Sequence[Delivery]) -> list[Bound]:
    """Return what a customer was bound to by their ID, and by the address of their sign-up."""
    emails = {getattr(one.conversion, "email", None) for one in found}
    who = {one for email in emails for one in identities(email, customer)}
    with services.storage.engine().connect() as connection:
        order = sorted(who, key=lambda one: (one.kind, one.text))
        return services.bindings.of(connection, order, services.clock.now())


def standing(bound: Bound) -> str:
    """Say what a binding counts for."""
    if not bound.live:
        return "past its window"
    if bound.proved:
        return "proved"
    if bound.counts:
        return "unproved"
    return "unproved, and does not count: too many were bound to that click, or that partner's day"
