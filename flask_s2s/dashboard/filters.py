"""The query string of a page: the period, the filters of a list, and the next page's beginning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from ..conversion.money import currency_code, minor_units
from ..errors import InvalidConversion, UsageError
from ..operations.period import NAMED, Period
from ..operations.words import STATUS_WORDS, Group
from ..store.outbox.ledger import Wanted as Meant
from ..store.queries import Wanted
from ..store.schema import EPOCH

#: What can be chosen as a kind: its word, and what it stands for in the rows.
KINDS = {
    "signup": ("Sign-up", ("signup",)),
    "action": ("Action", ("action",)),
    "payment": ("Payment, part refund", ("transaction",)),
    "refund": ("Whole refund", ("reversal",)),
}
#: The greatest number that a row can have.
LARGEST = 2**63 - 1
_STATUSES = {group.value: group.statuses for group in Group}
#: Filters that stand in a row as they are written.
_EXACT = ("partner", "reason", "sub_id", "detail", "customer", "network", "lane")
_AMOUNTS = ("least", "most")
#: What an act is meant for. Of an address that brings more, nothing else goes on.
_MEANT = ("id", "status", "kind", "detail")
_NAMES = ("kind", "state", "status", *_EXACT, "currency", *_AMOUNTS)


def period_of(args: Mapping[str, str], now: datetime) -> Period:
    """Return the period that an address names; the last 30 days where it names none."""
    if "from" in args or "to" in args:
        return Period.between(args.get("from", ""), args.get("to", ""), now.tzinfo)
    return Period.named(args.get("period", "30d"), now)


def period_args(period: Period) -> dict[str, str]:
    """Return a period as the parameters of an address."""
    if period.name in NAMED:
        return {} if period.name == "30d" else {"period": period.name}
    last = period.until - timedelta(days=1)
    return {"from": f"{period.since:%Y-%m-%d}", "to": f"{last:%Y-%m-%d}"}


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a list. Raises `UsageError` for one that cannot be."""

    #: As they stand in the address.
    given: dict[str, str]
    #: What the tabs count: all but the state.
    everywhere: Wanted
    #: What the list shows.
    shown: Wanted

    @classmethod
    def read(cls, args: Mapping[str, str], period: Period) -> Filters:
        """Read them from an address."""
        given = {name: args[name] for name in _NAMES if args.get(name)}
        kind = _one_of("kind", given, KINDS)
        state = _one_of("state", given, _STATUSES)
        statuses = () if state is None else _STATUSES[state]
        if "status" in given:
            statuses = tuple(given["status"].split(","))
            for status in statuses:
                _one_of("status", {"status": status}, STATUS_WORDS)
        everywhere = Wanted(
            since=period.since,
            until=period.until,
            kinds=() if kind is None else KINDS[kind][1],
            **_exact(given),
            **_amounts(given),
        )
        return cls(given, everywhere, replace(everywhere, statuses=statuses))


def _exact(given: Mapping[str, str]) -> dict[str, Any]:
    return {name: given.get(name) for name in _EXACT}


def _amounts(given: Mapping[str, str]) -> dict[str, Any]:
    """Read the currency, and the least and the most in minor units of it."""
    if "currency" not in given:
        if any(name in given for name in _AMOUNTS):
            raise UsageError("least= and most= are amounts of one currency: currency= says which")
        return {}
    try:
        currency = currency_code(given["currency"])
    except InvalidConversion:
        raise UsageError("currency= is a code of three letters, such as EUR") from None
    found: dict[str, Any] = {"currency": currency}
    for name in (name for name in _AMOUNTS if name in given):
        try:
            found[name] = minor_units(Decimal(given[name]), currency)
        except (InvalidOperation, InvalidConversion):
            raise UsageError(f"{name}= is an amount in {currency}, such as 49.00") from None
    return found


def meant_args(args: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters by which an address says which deliveries an act is meant for."""
    return {name: args[name] for name in _MEANT if args.get(name)}


def meant_by(args: Mapping[str, str], period: Period, statuses: tuple[str, ...]) -> Meant:
    """Return which deliveries an act is meant for: one, or those that match. Raises `UsageError`."""
    given = meant_args(args)
    if "id" in given:
        if not (given["id"].isascii() and given["id"].isdigit() and len(given["id"]) < 18):
            raise UsageError("id= is the number of a conversion")
        return Meant(delivery_id=int(given["id"]))
    return Meant(
        status=_one_of("status", given, statuses),
        kind=given.get("kind"),
        detail=given.get("detail"),
        since=period.since,
        until=period.until,
    )


def place_of(text: str | None) -> tuple[datetime, int] | None:
    """Return where a list goes on: the time and the number of the last row that was seen."""
    if not text:
        return None
    micro, _, number = text.partition(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 18 for part in (micro, number)):
        raise UsageError("before= is where a list goes on, as its link “Older” has it")
    return EPOCH + timedelta(microseconds=int(micro)), int(number)


def place_after(at: datetime, number: int) -> str:
    """Return how an address says it."""
    return f"{(at - EPOCH) // timedelta(microseconds=1)}.{number}"


def _one_of(name: str, given: Mapping[str, str], known: object) -> str | None:
    value = given.get(name)
    names = list(known)  # type: ignore[call-overload]
    if value is not None and value not in names:
        raise UsageError(f"{name}= is one of {', '.join(names)}")
    return value
