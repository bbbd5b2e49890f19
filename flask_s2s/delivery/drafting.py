"""What a delivery's row is when it is recorded: what will be sent, or why nothing is. Pure.

What is known of a person is cut down here, before the row is written: what may not be sent is not
stored either, and a row without anything to send keeps nothing personal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..capture.attribution import Attribution, Reason
from ..config import Settings
from ..conversion import Conversion, Signup, Transaction
from ..errors import InvalidConversion, UsageError
from ..networks.network import Network
from .settlement import Delivery, Status, deadline

_PERSONAL = ("email", "name")
_CLIENT = ("ip_address", "user_agent")


class Drafts:
    """Makes rows, as one app's settings want them."""

    def __init__(self, settings: Settings, networks: Mapping[str, Network]) -> None:
        self._settings = settings
        self._networks = networks

    def draft(self, conversion: Conversion, attribution: Attribution, now: datetime) -> Delivery:
        """Return the row of a conversion."""
        settings, click = self._settings, attribution.click
        network = self._network(None if click is None else click.network)
        reason = attribution.reason
        if not network.needs_click(conversion.kind):
            click, reason = None, Reason.BY_CUSTOMER
        sendable = click is not None or reason is Reason.BY_CUSTOMER
        status = Status.PENDING if sendable else Status.UNATTRIBUTED
        if sendable and settings.dry_run:
            status = Status.DRY_RUN
        settled = status is not Status.PENDING
        return Delivery(
            id=0,
            network=network.name,
            lane=network.lane(conversion.kind),
            kind=conversion.kind,
            status=status,
            reason=str(reason),
            detail=attribution.detail,
            customer_key=conversion.customer_key,
            conversion=minimised(dated(conversion, now), settings) if sendable else None,
            click=click,
            touches=() if click is None else attribution.touches,
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
            lane=self._networks[draft.network].lane(kind),
            customer_key=error.customer_key,
            click=attribution.click,
            detail=str(error)[:255],
        )

    def _network(self, name: str | None) -> Network:
        if name is None:
            return next(iter(self._networks.values()))
        network = self._networks.get(name)
        if network is None:
            raise UsageError(f"click= is of {name!r}, a network that this app does not report to")
        return network


def taken_key(conversion: Conversion, there: Delivery) -> InvalidConversion:
    """Return what is wrong with a conversion whose key another one has, which is `there`."""
    problem = f"is that of another {there.kind} (delivery {there.id})"
    error = InvalidConversion("key", problem)
    error.kind, error.customer_key = conversion.kind, conversion.customer_key
    return error


def dated(conversion: Conversion, now: datetime) -> Conversion:
    """Return a transaction with its time, so that one that is sent late still tells when it was."""
    if isinstance(conversion, Transaction) and conversion.created_at is None:
        return replace(conversion, created_at=int(now.timestamp() * 1000))
    return conversion


def minimised(conversion: Conversion, settings: Settings) -> Conversion:
    """Return the conversion with no more about a person than the settings allow to be sent."""
    changes: dict[str, Any] = {}
    if not isinstance(conversion, Signup):
        return conversion
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
