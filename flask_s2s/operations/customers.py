"""The advertiser's own sign-ups (`S2S_CUSTOMERS`) that were never recorded here, and their backfill.

Recording is idempotent: a sign-up is one delivery whoever records it, and however often. Who is
credited is decided as at any sign-up without a request: by the click that the site names, or by
one that the e-mail address or the customer's key was bound to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..click import Click, valid_click_id
from ..conversion import Signup
from ..conversion.fields import customer_key_of
from ..errors import InvalidConversion, StorageError, UsageError
from ..rules.attribution import Attribution, Reason
from ..rules.delivery import Delivery
from ..services import Services
from ..store.queries import Queries

_NAMES = ("customer_key", "created_at", "email", "click_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A sign-up as the advertiser's own table has it."""

    customer_key: str
    created_at: datetime
    email: str | None = field(default=None, repr=False)
    click_id: str | None = None


def unrecorded(services: Services, since: datetime) -> list[Customer]:
    """Return the advertiser's own sign-ups since then that are not here, oldest first.

    Raises `UsageError` where `S2S_CUSTOMERS` is not set, or gives what cannot be read.
    """
    since = since.astimezone(timezone.utc)
    listed = {one.customer_key: one for one in _listed(services, since)}
    queries = Queries(services.storage, services.outbox)
    hashes: dict[str, list[str]] = {}
    seals, now = services.outbox.seals, services.clock.now()
    with services.storage.engine().connect() as connection:
        for key in listed:
            own = services.outbox.hashed(connection, (Signup.kind, key))
            hashes[key] = [own, *seals.also(connection, own, now)]
    known: set[str] = set()
    for network in services.networks:
        known |= queries.by_dedupe(
            network, [one for some in hashes.values() for one in some]
        ).keys()
    missing = [one for key, one in listed.items() if known.isdisjoint(hashes[key])]
    return sorted(missing, key=lambda one: (one.created_at, one.customer_key))


def backfill(services: Services, missing: Sequence[Customer]) -> Iterator[Delivery]:
    """Record each, and return what it became. Raises `StorageError` where one is not taken."""
    for one in missing:
        conversion = Signup(customer_key=one.customer_key, email=one.email)
        recorded = services.recorder.alone(conversion, _attribution(services, one))
        if not recorded:
            raise StorageError("The database did not take a sign-up", "Run it again.")
        yield recorded


def _attribution(services: Services, one: Customer) -> Attribution:
    if one.click_id is None:
        return Attribution(None, Reason.OUTSIDE_REQUEST)
    seen = services.touches.find(one.click_id)
    return Attribution(seen or Click(click_id=one.click_id, at=one.created_at), Reason.EXPLICIT)


def _listed(services: Services, since: datetime) -> Iterable[Customer]:
    source = services.settings.customers
    if source is None:
        raise UsageError(
            "S2S_CUSTOMERS is not set: which sign-ups there should be is in your own table. "
            "docs/reconciliation.md has examples."
        )
    if not isinstance(source, str):
        yield from map(_customer, source(since))
        return
    yield from map(_customer, services.storage.hosts_rows(source, since))


def _customer(row: Any) -> Customer:
    """Read a row: by its names where it has them, else in their order."""
    named = getattr(row, "_mapping", row)
    if isinstance(named, Mapping) and "customer_key" in named:
        values = [named.get(name) for name in _NAMES]
    elif isinstance(row, Mapping):
        raise UsageError("S2S_CUSTOMERS gave a row without customer_key")
    else:
        values = [*row, None, None, None][: len(_NAMES)]
    key, at, email, click_id = values
    try:
        checked = customer_key_of(key)
    except InvalidConversion as error:
        raise UsageError(f"S2S_CUSTOMERS gave a customer key that {error.problem}") from None
    if click_id is not None and not valid_click_id(click_id):
        raise UsageError(f"S2S_CUSTOMERS gave a click ID that is none, of {checked}")
    return Customer(
        customer_key=checked,
        created_at=_moment(at),
        email=email,
        click_id=click_id,
    )


def _moment(value: Any) -> datetime:
    """Read a time; one without a zone is UTC, and SQLite's is text."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise UsageError(f"S2S_CUSTOMERS gave {value!r} where a time belongs") from None
    return at.replace(tzinfo=at.tzinfo or timezone.utc).astimezone(timezone.utc)
