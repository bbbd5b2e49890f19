"""The clicks: who collects identities, and whether the day's rows are used up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...store.bindings import A_CLICK, A_DAY, Collector
from .findings import Finding


def look(collecting: Iterable[Collector], today: int, a_day: int) -> Iterator[Finding]:
    """Look at who collects, and at the rows of today."""
    yield from map(_collected, collecting)
    if today >= a_day:
        yield Finding.error(
            "clicks",
            f"the click rows of today are used up (S2S_CLICK_DAY is {a_day})",
            "Newer clicks are in cookies only.",
            code="click_rows",
        )


def _collected(one: Collector) -> Finding:
    if one.kind == "click":
        message = (
            f"{one.identities} addresses or IDs were bound to click {one.name}, {A_CLICK} count"
        )
        remedy = f"`flask s2s block --click {one.name}`"
    else:
        what = f"links of partner {one.name}" if one.name else "links that name no partner"
        message = (
            f"{one.identities} addresses or IDs were bound by {what} on one day, {A_DAY} count"
        )
        remedy = f"`flask s2s block --partner {one.name}`" if one.name else ""
    return Finding.error("clicks", message, remedy, code="collector")
