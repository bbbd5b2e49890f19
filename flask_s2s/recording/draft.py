"""Drafts: the row of a delivery as it is recorded, with its content or the reason for none. Pure.

A person's data are cut down here, before the row is written: what may not be sent is not stored
either, and a row without anything to send keeps nothing personal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..config.settings import Settings
from ..conversion import Conversion, Reversal, Signup, Transaction
from ..errors import InvalidConversion, UsageError
from ..networks.network import Network, lane_of
from ..rules.attribution import Attribution, Reason
from ..rules.delivery import Delivery, deadline
from ..rules.states import Status

_PERSONAL = ("email", "name")
_CLIENT = ("ip_address", "user_agent")


class Drafts:
    """Makes rows, as one app's settings want them."""

    def __init__(self, settings: Settings, networks: Mapping[str, Network]) -> None:
        self._settings = settings
        self._networks = networks

    @property
    def route(self) -> bool:
        """Whether the customer's sign-up has a say in where their conversions go, and by which click."""
        kinds = [one for network in self._networks.values() for one in network.traits.items()]
        by_click = any(traits.needs_click and kind != Signup.kind for kind, traits in kinds)
        return len(self._networks) > 1 or by_click

    def draft(
        self,
        conversion: Conversion,
        attribution: Attribution,
        now: datetime,
        known: Delivery | None = None,
        person: str | None = None,
    ) -> Delivery:
        """Return the row of a conversion.

        `known` is what was told of its customer before, and where; `person` the hash of who it is.
        """
        settings, click = self._settings, attribution.click
        name = known.network if known is not None else None if click is None else click.network
        network = self._network(name)
        reason = attribution.reason
        traits = network.traits.get(conversion.kind)
        if traits is None:
            click, reason = None, Reason.UNSUPPORTED
        elif not traits.needs_click:
            click, reason = None, Reason.BY_CUSTOMER
        elif known is not None and known.click is not None:
            click, reason = known.click, Reason.BY_CUSTOMER
        # What waits for review keeps all that it would send.
        kept = click is not None or reason is Reason.BY_CUSTOMER
        sendable = kept and reason is not Reason.REVIEW
        status = Status.PENDING if sendable else Status.UNATTRIBUTED
        if sendable and settings.dry_run:
            status = Status.DRY_RUN
        settled = status is not Status.PENDING
        return Delivery(
            id=0,
            network=network.name,
            lane=lane_of(network, conversion.kind),
            kind=conversion.kind,
            status=status,
            reason=reason.value,
            detail=_told(attribution, conversion),
            customer_key=conversion.customer_key,
            conversion=minimised(dated(conversion, now), settings) if kept else None,
            click=click,
            touches=attribution.touches if click is not None or reason is Reason.EXPIRED else (),
            attempts=0,
            created_at=now,
            due_at=None if settled else now,
            deadline_at=deadline(
                None if click is None else click.at,
                now,
                settings.window_of(network.name),
                settings.give_up,
            ),
            settled_at=now if settled else None,
            partner_key=None if click is None else click.partner_key,
            sub_id=None if click is None or not click.sub_ids else click.sub_ids[0],
            amount=getattr(conversion, "amount", None),
            currency=getattr(conversion, "currency", None),
            key=key_of(conversion),
            what=getattr(conversion, "type", None),
            person=person,
        )

    def invalid(
        self, error: InvalidConversion, attribution: Attribution, now: datetime
    ) -> Delivery:
        """Return the row of a conversion that cannot be: it says whose it is, why, and the click."""
        reason = Reason.BAD_KEY if error.field == "customer_key" else Reason.BAD_FIELD
        draft = self.draft(Signup(customer_key="-"), Attribution(None, reason), now)
        kind = error.kind or draft.kind
        return replace(
            draft,
            status=Status.INVALID,
            kind=kind,
            lane=lane_of(self._networks[draft.network], kind),
            customer_key=error.customer_key,
            click=attribution.click,
            detail=str(error)[:255],
        )

    def parent(self, draft: Delivery, conversion: Conversion) -> tuple[str, ...] | None:
        """Return the identity of what must be accepted first, where the network wants that."""
        traits, parent = self._networks[draft.network].traits.get(draft.kind), conversion.parent
        if traits is None or parent is None or parent[0] not in traits.depends_on:
            return None
        return parent

    def _network(self, name: str | None) -> Network:
        if name is None:
            return next(iter(self._networks.values()))
        network = self._networks.get(name)
        if network is None:
            raise UsageError(f"click= is of {name!r}, a network that this app does not report to")
        return network


def key_of(conversion: Conversion) -> str | None:
    """Return the site's own key of a conversion; a reversal has that of its transaction."""
    if isinstance(conversion, Reversal):
        return conversion.transaction_key
    return None if isinstance(conversion, Signup) else conversion.key


def is_of_the_same(conversion: Conversion, there: Delivery) -> bool:
    """Say whether a stored conversion is of the same customer and thing, whatever key they have by now."""
    stored = there.conversion
    if stored is not None and conversion.customer_key in there.customer_keys:
        conversion = replace(conversion, customer_key=stored.customer_key)
    return stored is not None and stored.subject == conversion.subject


def taken_key(conversion: Conversion, there: Delivery) -> InvalidConversion:
    """Return what is wrong with a conversion whose key another one has, which is `there`."""
    problem = f"is that of another {there.kind} (delivery {there.id})"
    error = InvalidConversion("key", problem)
    error.kind, error.customer_key = conversion.kind, conversion.customer_key
    return error


def other_amount(conversion: Conversion, there: Conversion) -> str | None:
    """Say in what a payment that is reported again differs from what was reported first."""
    if not isinstance(conversion, Transaction) or not isinstance(there, Transaction):
        return None
    first, again = (f"{one.amount} {one.currency}" for one in (there, conversion))
    return None if first == again else f"{again} now, {first} before"


def dated(conversion: Conversion, now: datetime) -> Conversion:
    """Return a transaction with its time, so that one that is sent late still tells when it was."""
    if isinstance(conversion, Transaction) and conversion.created_at is None:
        return replace(conversion, created_at=int(now.timestamp() * 1000))
    return conversion


def _told(attribution: Attribution, conversion: Conversion) -> str | None:
    """Say what is known of the click, and what became of fields that could not be sent as passed."""
    told = "; ".join((*filter(None, [attribution.detail]), *cleaned(conversion)))
    return told[:255] or None


def cleaned(conversion: Conversion | None) -> tuple[str, ...]:
    """Return what was cut, cleaned or left out of a conversion."""
    return getattr(conversion, "cleaned", ())


def minimised(conversion: Conversion, settings: Settings) -> Conversion:
    """Return the conversion with no more about a person than the settings allow to be sent."""
    if not isinstance(conversion, Signup):
        return conversion
    asked = (conversion.ip_address, conversion.user_agent)
    if settings.send_pii == "plain" and (settings.send_client or asked == (None, None)):
        return conversion
    changes: dict[str, Any] = {}
    if settings.send_pii != "plain":
        for name in _PERSONAL:
            changes[name] = _hidden(getattr(conversion, name), settings.send_pii)
    if not settings.send_client:
        changes.update(dict.fromkeys(_CLIENT))
    changed = {n: v for n, v in changes.items() if getattr(conversion, n) != v}
    return replace(conversion, **changed) if changed else conversion


def _hidden(value: str | None, how: str) -> str | None:
    if value is None or how == "omit":
        return None
    return hashlib.sha256(value.strip().lower().encode()).hexdigest()
