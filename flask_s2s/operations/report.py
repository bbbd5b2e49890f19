"""A programme's earnings in a period, in sums that add up: the overview, and each partner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ..conversion import Signup
from ..store.sums import Count, Share, Sums
from .period import Period
from .words import CREDITED, GROUP_OF, Group

#: How many partners an overview has day by day.
TOP = 5


@dataclass(slots=True)
class Money:
    """Sums of credited customers' payments, in minor units of one currency."""

    currency: str
    payments: int = 0
    paid: int = 0
    refunded: int = 0
    accepted: int = 0
    open: int = 0
    failed: int = 0

    @property
    def net(self) -> int:
        """The sum that is left: the same as accepted, on its way and failed together."""
        return self.paid + self.refunded


@dataclass(slots=True)
class Line:
    """One partner's, or one sub ID's, part of a period; name None: what has no key."""

    name: str | None
    clicks: int = 0
    signups: int = 0
    confirmed: int = 0
    paying: int = 0
    #: currency -> (paid, refunded)
    money: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: currency -> how many payments
    payments: dict[str, int] = field(default_factory=dict)
    #: Credited sign-ups of each day.
    days: list[int] = field(default_factory=list)
    #: Whose sub ID it is, where it is one.
    partner: str | None = None

    def paid(self, currency: str) -> int:
        """Return what was paid in a currency."""
        return self.money.get(currency, (0, 0))[0]

    def refunded(self, currency: str) -> int:
        """Return what was paid back of it, negative."""
        return self.money.get(currency, (0, 0))[1]

    def net(self, currency: str) -> int:
        """Return what is left of it."""
        return sum(self.money.get(currency, (0, 0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A period at a glance. Its parts add up to its wholes."""

    period: Period
    clicks: int
    #: Sign-ups: recorded, credited, accepted by the network, confirmed by its record.
    recorded: int
    credited: int
    accepted: int
    confirmed: int
    paying: int
    #: Credited sign-ups: each day's, by group.
    days: list[tuple[datetime, dict[Group, int]]]
    #: Why the others have no partner: reason -> number, most first.
    reasons: list[tuple[str, int]]
    #: Sign-ups with a partner's click that are kept back on our side.
    unsent: int
    money: list[Money]
    partners: list[Line]
    #: Those who brought most sign-ups, with their days.
    top: list[Line]


def overview(sums: Sums, period: Period) -> Overview:
    """Return the period at a glance."""
    counts = sums.counts(period.counted)
    signups = [count for count in counts if count.kind == Signup.kind]
    by_group = _by_group(signups)
    lines = _partners(sums, period)
    top = [line for line in lines if line.name is not None][:TOP]
    _add_days(top, sums.daily(period.counted, [str(line.name) for line in top]), period)
    uncredited: dict[str, int] = {}
    for count in signups:
        if GROUP_OF[count.status] is Group.UNCREDITED:
            uncredited[count.reason] = uncredited.get(count.reason, 0) + count.number
    return Overview(
        period=period,
        clicks=sum(line.clicks for line in lines),
        recorded=sum(by_group.values()),
        credited=sum(by_group[group] for group in CREDITED),
        accepted=by_group[Group.ACCEPTED] + by_group[Group.CONFIRMED],
        confirmed=by_group[Group.CONFIRMED],
        paying=sum(line.paying for line in lines),
        days=_days(signups, period),
        reasons=sorted(uncredited.items(), key=lambda one: (-one[1], one[0])),
        unsent=by_group[Group.UNSENT],
        money=_money(counts),
        partners=lines,
        top=top,
    )


def partners(sums: Sums, period: Period, partner: str | None = None) -> list[Line]:
    """Return each partner's part, most sign-ups first; last what has no partner's key."""
    lines = _partners(sums, period, partner)
    only = None if partner is None else [partner]
    _add_days(lines, sums.daily(period.counted, only), period)
    return lines


def _partners(sums: Sums, period: Period, partner: str | None = None) -> list[Line]:
    since, until = period.since, period.until
    return _lines(
        sums.partners(since, until, partner),
        sums.clicks(since, until, partner),
        sums.paying(since, until, partner),
    )


def _add_days(
    lines: Iterable[Line], daily: Mapping[tuple[str | None, datetime], int], period: Period
) -> None:
    days = period.days
    for line in lines:
        line.days = [daily.get((line.name, day), 0) for day in days]


def sub_ids(sums: Sums, partner: str | None, period: Period, place: int = 0) -> list[Line]:
    """Return one partner's part by the sub ID in one place, most sign-ups first.

    By any but the first: clicks and sign-ups alone.
    """
    since, until = period.since, period.until
    if place:
        shares, paying = sums.signups_by_sub_id(partner, since, until, place), {}
    else:
        shares = sums.sub_ids(partner, since, until)
        paying = sums.paying_by_sub_id(partner, since, until)
    lines = _lines(shares, sums.clicks_by_sub_id(partner, since, until, place), paying)
    for line in lines:
        line.partner = partner
    return lines


def all_sub_ids(sums: Sums, period: Period) -> list[Line]:
    """Return the sub IDs of every partner, partner by partner."""
    return [line for one in partners(sums, period) for line in sub_ids(sums, one.name, period)]


def days(sums: Sums, period: Period) -> list[Line]:
    """Return each day's part, oldest first. Nobody is counted as paying: that adds up over no days."""
    lines = {day: Line(f"{day:%Y-%m-%d}") for day in period.days}
    for count in sums.counts(period.counted):
        if GROUP_OF[count.status] in CREDITED:
            _add(lines[count.day], count)
    for day, number in sums.clicks_by_day(period.counted).items():
        lines[day].clicks = number
    return list(lines.values())


def total(lines: Iterable[Line]) -> Line:
    """Add lines up."""
    whole = Line(None)
    for line in lines:
        for name in ("clicks", "signups", "confirmed", "paying"):
            setattr(whole, name, getattr(whole, name) + getattr(line, name))
        for currency, (paid, refunded) in line.money.items():
            before = whole.money.get(currency, (0, 0))
            whole.money[currency] = (before[0] + paid, before[1] + refunded)
    return whole


def currencies(lines: Iterable[Line]) -> list[str]:
    """Return the currencies that lines have, the most used first."""
    used: dict[str, int] = {}
    for line in lines:
        for currency, number in line.payments.items():
            used[currency] = used.get(currency, 0) + number
    return sorted(used, key=lambda currency: (-used[currency], currency))


def _lines(
    shares: Sequence[Share], clicks: dict[str | None, int], paying: dict[str | None, int]
) -> list[Line]:
    lines: dict[str | None, Line] = {}
    for share in shares:
        _add(lines.setdefault(share.name, Line(share.name)), share)
    for name, number in clicks.items():
        lines.setdefault(name, Line(name)).clicks = number
    for name, number in paying.items():
        lines.setdefault(name, Line(name)).paying = number
    in_order = sorted(lines.values(), key=lambda one: (-one.signups, -one.clicks, one.name or ""))
    return sorted(in_order, key=lambda one: one.name is None)


def _add(line: Line, part: Share | Count) -> None:
    if part.kind == Signup.kind:
        line.signups += part.number
        if part.confirmed:
            line.confirmed += part.number
    elif part.currency is not None:
        paid, refunded = line.money.get(part.currency, (0, 0))
        line.money[part.currency] = (paid + part.paid, refunded + part.refunded)
        number = line.payments.get(part.currency, 0) + part.payments
        line.payments[part.currency] = number


def _by_group(counts: Iterable[Count]) -> dict[Group, int]:
    numbers = dict.fromkeys(Group, 0)
    for count in counts:
        numbers[GROUP_OF[count.status]] += count.number
    return numbers


def _days(signups: Sequence[Count], period: Period) -> list[tuple[datetime, dict[Group, int]]]:
    days = {day: dict.fromkeys(CREDITED, 0) for day in period.days}
    for count in signups:
        group = GROUP_OF[count.status]
        if group in CREDITED:
            days[count.day][group] += count.number
    return list(days.items())


def _money(counts: Iterable[Count]) -> list[Money]:
    currencies: dict[str, Money] = {}
    for count in counts:
        group = GROUP_OF[count.status]
        if count.currency is None or group not in CREDITED:
            continue
        money = currencies.setdefault(count.currency, Money(count.currency))
        amount = count.paid + count.refunded
        money.payments += count.payments
        money.paid += count.paid
        money.refunded += count.refunded
        if group is Group.OPEN:
            money.open += amount
        elif group is Group.FAILED:
            money.failed += amount
        else:
            money.accepted += amount
    return sorted(currencies.values(), key=lambda one: (-one.payments, one.currency))
