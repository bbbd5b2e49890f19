"""The query string of a page: the period, the filters of a list, and the next page's beginning."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, timezone
from typing import Any

from ..conversion.money import amounts_between
from ..errors import InvalidConversion, UsageError
from ..operations.causes import CAUSES, narrowed, worded
from ..operations.period import NAMED, Period
from ..operations.words import STATUS_WORDS, Group
from ..store.dialects.statements import EPOCH
from ..store.outbox.ledger import Wanted as Meant
from ..store.queries import Wanted
from .formats import shell

#: What can be chosen as a kind: its word, and what it stands for in the rows.
KINDS = {
    "signup": ("Sign-up", ("signup",)),
    "action": ("Action", ("action",)),
    "payment": ("Payment, part refund", ("transaction",)),
    "refund": ("Whole refund", ("reversal",)),
}
#: What can be chosen as a cause: its code, in words.
CAUSE_WORDS = {code: code.replace("_", " ").capitalize() for code in CAUSES}
#: In which place a click's sub IDs can be told apart.
SUB_IDS = ("first", "second", "third")
#: The greatest number that a row can have.
LARGEST = 2**63 - 1
_STATUSES = {group.value: group.statuses for group in Group}
#: Filters that stand in a row as they are written.
_EXACT = ("partner", "reason", "sub_id", "detail", "customer", "network", "lane")
_AMOUNTS = ("least", "most")
#: What an act is meant for. Of an address that brings more, nothing else goes on.
_MEANT = ("id", "status", "kind", "detail", "cause")
NAMES = ("kind", "state", "status", "cause", *_EXACT, "currency", *_AMOUNTS)
#: What stands in an address for the last word of what has none: a form sends each empty field.
NO_WORD = "-"
#: What a filter is called on the command line, where it has another name there.
_OPTIONS = {"sub_id": "sub-id"}


class BadFilter(UsageError):
    """A filter in an address cannot be. `names` are its parameters."""

    def __init__(self, problem: str, *names: str) -> None:
        super().__init__(problem)
        self.names = names


def period_of(args: Mapping[str, str], now: datetime) -> Period:
    """Return the period that an address names; the last 30 days where it names none."""
    two_dates = "from" in args or "to" in args
    try:
        if two_dates:
            return Period.between(args.get("from", ""), args.get("to", ""), now.tzinfo)
        return Period.named(args.get("period", "30d"), now)
    except UsageError as error:
        raise BadFilter(str(error), *(("from", "to") if two_dates else ("period",))) from None


def period_args(period: Period) -> dict[str, str]:
    """Return a period as the parameters of an address."""
    if period.name in NAMED:
        return {} if period.name == "30d" else {"period": period.name}
    last = period.until - timedelta(days=1)
    return {"from": f"{period.since:%Y-%m-%d}", "to": f"{last:%Y-%m-%d}"}


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a list. Raises `BadFilter` for one that cannot be."""

    #: As they stand in the address.
    given: dict[str, str]
    #: What the tabs count: all but the state.
    everywhere: Wanted
    #: What the list shows.
    shown: Wanted

    @classmethod
    def read(cls, args: Mapping[str, str], period: Period) -> Filters:
        """Read them from an address."""
        given = {name: args[name] for name in NAMES if args.get(name)}
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
        shown = replace(everywhere, statuses=statuses)
        if (cause := _one_of("cause", given, CAUSES)) is not None:
            everywhere, shown = (narrowed(one, CAUSES[cause]) for one in (everywhere, shown))
        return cls(given, everywhere, shown)

    @classmethod
    def as_far_as(cls, args: Mapping[str, str], period: Period) -> tuple[Filters, list[BadFilter]]:
        """Read what can be read of an address; return with it what cannot be."""
        left, wrong = dict(args), list[BadFilter]()
        while True:
            try:
                return cls.read(left, period), wrong
            except BadFilter as error:
                wrong.append(error)
                for name in error.names:
                    left.pop(name, None)

    def command_line(self, period: Period) -> str:
        """Return the command that lists the same."""
        words = ["flask s2s list", f"--since {_written(period.since)}"]
        words.append(f"--until {_written(period.until)}")
        for name, value in self.given.items():
            if name == "kind":
                words += [f"--kind {kind}" for kind in KINDS[value][1]]
            elif name == "status":
                words += [f"--status {status}" for status in value.split(",")]
            elif name == "detail":
                words.append(f"--error {shell(_word(self.given))}")
            else:
                option = _OPTIONS.get(name, name)
                words.append(f"--{option} {shell(value)}")
        return " ".join(words)


def command_of(act: str, wanted: Meant, cause: str | None) -> str:
    """Return the command that does the same to the same deliveries."""
    named = {"id": wanted.delivery_id, "status": wanted.status, "kind": wanted.kind, "cause": cause}
    named["error"] = None if wanted.detail is None else shell(wanted.detail)
    named["since"] = None if wanted.since is None else _written(wanted.since)
    named["until"] = None if wanted.until is None else _written(wanted.until)
    options = [f"--{name} {value}" for name, value in named.items() if value is not None]
    return " ".join((f"flask s2s {act}", *options))


def _written(at: datetime) -> str:
    """Return the first moment of a day as the command line takes it, which counts in UTC."""
    at_utc = at.astimezone(timezone.utc)
    return f"{at_utc:%Y-%m-%d}" if at_utc.time() == time() else f"'{at_utc:%Y-%m-%d %H:%M}'"


def _exact(given: Mapping[str, str]) -> dict[str, Any]:
    return {**{name: given.get(name) for name in _EXACT}, "detail": _word(given)}


def _word(given: Mapping[str, str]) -> str | None:
    word = given.get("detail")
    return "" if word == NO_WORD else word


def _amounts(given: Mapping[str, str]) -> dict[str, Any]:
    """Read the currency, and the least and the most in minor units of it."""
    names = ("currency", *_AMOUNTS)
    try:
        found = amounts_between(*(given.get(name) for name in names))
    except InvalidConversion as error:
        # Without the currency no amount is one.
        these = names if error.field == "currency" else (error.field,)
        raise BadFilter(f"{error.field}= {error.problem}", *these) from None
    return dict(zip(names, found, strict=True))


def page_args(args: Mapping[str, str], without: Collection[str]) -> dict[str, str]:
    """Return what an address says of its page, but some: what a stranger added does not go on."""
    named = ("period", "from", "to", "key", "place", "q", "sort", *NAMES)
    return {name: args[name] for name in named if name in args and name not in without}


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
    cause = _one_of("cause", given, CAUSES)
    return Meant(
        status=_one_of("status", given, statuses),
        kind=given.get("kind"),
        worded=() if cause is None else worded(cause),
        detail=_word(given),
        since=period.since,
        until=period.until,
    )


def sub_id_of(args: Mapping[str, str]) -> int:
    """Return in which place the sub IDs of a table are, from 0."""
    return SUB_IDS.index(_one_of("place", args, SUB_IDS) or SUB_IDS[0])


def place_of(text: str | None) -> tuple[datetime, int] | None:
    """Return where a list goes on: the time and the number of the last row that was seen."""
    if not text:
        return None
    micro, _, number = text.partition(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 18 for part in (micro, number)):
        raise BadFilter("before= is where a list goes on, as its link “Older” has it", "before")
    return EPOCH + timedelta(microseconds=int(micro)), int(number)


def place_after(at: datetime, number: int) -> str:
    """Return how an address says it."""
    return f"{(at - EPOCH) // timedelta(microseconds=1)}.{number}"


def _one_of(name: str, given: Mapping[str, str], known: object) -> str | None:
    value = given.get(name)
    names = list(known)  # type: ignore[call-overload]
    if value is not None and value not in names:
        raise BadFilter(f"{name}= is one of {', '.join(names)}", name)
    return value
