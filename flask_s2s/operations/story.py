"""One customer's story: the deliveries, and the clicks that their identities were bound to."""

from __future__ import annotations

from collections.abc import Sequence

from ..conversion import Signup
from ..rules.delivery import Delivery
from ..rules.identity import identities
from ..services import Services
from ..store.bindings import Bound


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
