"""The page that compares our records with the network's: they say 20, we show 17, which three?

Comparing reads the network's lists, and all of our records, within the request that asks for it: of
several web processes the one that is asked answers, and what it found it keeps to show again. Both
are bounded, because servers end a request that takes half a minute. A programme too large for that
has the command line.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from ..operations import sheets
from ..operations.customers import Customer, unrecorded
from ..operations.period import Period
from ..operations.reconcile import EXPLAINED, TOLD, Comparison, Side, reconcile
from ..services import Services
from ..store.queries import Wanted
from .filters import period_args
from .frame import Frame

#: How long a list may take, in seconds; several networks share it.
_SECONDS = 5.0
#: So many of our own records are read in some seconds.
MOST_RECORDS = 50_000
#: Rows of a table.
_SHOWN = 200


class Reconciliation:
    """The page for the partner manager and for finance."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        #: What was found last, by app: the period, the comparisons, the own table's rest.
        self._last: WeakKeyDictionary[Services, _Found] = WeakKeyDictionary()

    def reconciliation(self) -> Response:
        """They say 20, we show 17: which three?"""
        period = self._frame.period()
        found = self._last.get(self._frame.services)
        return self._page(period, None if found is None or found[0] != period else found)

    def _too_many(self, period: Period) -> int:
        """Count what was to be sent since a period began, where that is too many for a page; else 0."""
        counted = self._frame.model.queries.by_status(Wanted(since=period.since, statuses=TOLD))
        number = sum(counted.values())
        return number if number > MOST_RECORDS else 0

    def compare(self) -> Response | BaseResponse:
        """Compare now; as a file where one is asked for."""
        if self._frame.forms.facts(request, self._frame.who.name, "compare") != []:
            return self._frame.stale("reconciliation", **period_args(self._frame.period()))
        period = self._frame.period()
        if self._too_many(period):
            return self._page(period, None)
        found = self._last[self._frame.services] = self._compared(period)
        if request.form.get("as") == "csv":
            rows = (
                sheets.difference_row(one.network, each)
                for one in found[1]
                for each in one.differences
            )
            return self._frame.file("differences.csv", sheets.DIFFERENCES, rows)
        return self._page(period, found)

    def explained(self) -> Response | BaseResponse:
        """Take a difference off, with a note."""
        mark = request.form.get("mark", "")
        if self._frame.forms.facts(request, self._frame.who.name, EXPLAINED) != [mark]:
            return self._frame.stale("reconciliation", **period_args(self._frame.period()))
        self._frame.note(EXPLAINED, difference=mark)
        self._last.pop(self._frame.services, None)
        told = "Explained. Compare again to see what is left."
        return self._frame.done(told, "reconciliation", **period_args(self._frame.period()))

    def _compared(self, period: Period) -> _Found:
        services = self._frame.services
        compared = [
            reconcile(services, name, period.since, seconds=_SECONDS / len(services.networks))
            for name in services.networks
        ]
        missing = None
        if services.settings.customers is not None:
            missing = unrecorded(services, period.since)
        return period, compared, missing

    def _page(self, period: Period, found: _Found | None) -> Response:
        shown: dict[str, Any] = {"compared": None, "missing": None}
        if found is not None:
            shown = {"compared": found[1], "missing": found[2]}
        return self._frame.page(
            "reconciliation.html",
            period=period,
            args=period_args(period),
            able=self._frame.services.supervisor.verifier().able,
            side=Side,
            too_many=self._too_many(period),
            most=_SHOWN,
            **shown,
        )


_Found = tuple[Period, list[Comparison], "list[Customer] | None"]
