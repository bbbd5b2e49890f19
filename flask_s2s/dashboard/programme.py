"""The pages about the programme: overview, partners, fraud, and our records against the network's.

Comparing reads the network's lists, and all of our records, within the request that asks for it: of
several web processes the one that is asked answers, and what it found it keeps to show again. Both
are bounded, because servers end a request that takes half a minute. A programme too large for that
has the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from flask import Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from ..click import valid_click_id, valid_partner_key
from ..errors import UsageError
from ..operations import sheets
from ..operations.customers import Customer, unrecorded
from ..operations.fraud import AT_ONCE, collectors
from ..operations.period import Period
from ..operations.reconcile import EXPLAINED, TOLD, Comparison, Side, reconcile
from ..operations.report import Line, currencies, total
from ..services import Services
from ..store.audit import Kind
from ..store.queries import Wanted
from .filters import SUB_IDS, period_args, sub_id_of
from .frame import Frame
from .model import LIMIT, MOST_PARTNERS, Model

#: Blocks that are shown, and comparisons.
_ROWS = 50
#: How long a list of the network's may take, in seconds; several networks share it.
_SECONDS = 5.0
#: So many of our own records are read in some seconds.
MOST_RECORDS = 50_000
#: Rows of a comparison's table.
_SHOWN = 200

_Found = tuple[Period, list[Comparison], "list[Customer] | None"]


class Programme:
    """The pages for the partner manager and for finance."""

    def __init__(self, frame: Frame, model: Model) -> None:
        self._frame = frame
        self._model = model
        #: What was compared last, by app: the period, the comparisons, the own table's rest.
        self._last: WeakKeyDictionary[Services, _Found] = WeakKeyDictionary()

    def overview(self) -> Response:
        """Does it earn, and does it move?"""
        period = self._frame.period()
        report = self._model.overview(period)
        return self._frame.page(
            "overview.html",
            period=period,
            args=period_args(period),
            report=report,
            problems=self._model.problems(),
            lanes=self._model.lanes(),
            currency=None if report is None else _first_currency(report.partners),
            most_seconds=LIMIT,
            able=self._frame.services.supervisor.verifier().able,
        )

    def partners(self) -> Response:
        """Show each partner's results, in money."""
        period = self._frame.period()
        lines = self._model.partners(period)
        currency = _currency(lines)
        order = request.args.get("sort", "signups")
        keys: dict[str, Callable[[Line], Any]] = {
            "name": lambda line: self._frame.partner_name(line.name).casefold(),
            "clicks": lambda line: -line.clicks,
            "signups": lambda line: -line.signups,
            "confirmed": lambda line: -line.confirmed,
            "paying": lambda line: -line.paying,
            "net": lambda line: -line.net(currency or ""),
        }
        if order not in keys:
            raise UsageError(f"sort= is one of {', '.join(keys)}")
        named = sorted((line for line in lines if line.name is not None), key=keys[order])
        shown, rest = named[:MOST_PARTNERS], named[MOST_PARTNERS:]
        return self._frame.page(
            "partners.html",
            period=period,
            args=period_args(period),
            lines=shown,
            rest=(len(rest), total(rest)) if rest else None,
            unnamed=next((line for line in lines if line.name is None), None),
            whole=total(lines),
            currency=currency,
            currencies=currencies(lines),
            sort=order,
        )

    def partners_csv(self) -> Response:
        """The same table as a file."""
        lines = self._model.partners(self._frame.period())
        currency = _currency(lines) or ""
        rows = (sheets.report_row(line, "partner", currency) for line in lines)
        return self._frame.file("partners.csv", sheets.report_head("partner"), rows)

    def partner(self) -> Response | BaseResponse:
        """Show one partner's results, by sub ID and day."""
        period, key = self._frame.period(), request.args.get("key", "")
        if not key.strip():
            return redirect(self._frame.url("partners", **period_args(period)))
        lines = self._model.partners(period, key)
        place = sub_id_of(request.args)
        line = lines[0] if lines else Line(key, days=[0] * len(period.days))
        shown = Wanted(since=period.since, until=period.until, partner=key)
        return self._frame.page(
            "partner.html",
            period=period,
            args={
                **period_args(period),
                "key": key,
                **({"place": SUB_IDS[place]} if place else {}),
            },
            line=line,
            subs=self._model.sub_ids(key, period, place),
            nth=place,
            sub_ids=SUB_IDS,
            latest=self._model.queries.page(shown, 10),
            currencies=currencies([line]),
        )

    def fraud(self) -> Response:
        """Show who is too good to be true, and who is blocked."""
        return self._fraud(self._frame.period())

    def _fraud(self, period: Period, status: int = 200, error: str = "") -> Response:
        services = self._frame.services
        return self._frame.page(
            "fraud.html",
            status,
            period=period,
            args=period_args(period),
            found=self._model.suspicion(period),
            clicks=self._model.sums.clicks(period.since, period.until),
            collecting=collectors(services, self._model.now),
            blocks=services.blocks.all(),
            at_once=AT_ONCE,
            most=_ROWS,
            networks=list(services.networks),
            said=request.form,
            error=error,
        )

    def block(self) -> Response | BaseResponse:
        """Credit nobody to a partner, or to a click, from now on."""
        if self._frame.forms.facts(request, self._frame.who.name, "block") != []:
            return self._frame.stale("fraud", **period_args(self._frame.period()))
        services, said = self._frame.services, request.form
        kind: Kind = "click" if said.get("kind") == "click" else "partner"
        name, network = said.get("name", "").strip(), said.get("network", "")
        valid = valid_click_id(name) if kind == "click" else valid_partner_key(name)
        error = ""
        if not valid or network not in services.networks:
            error = "A partner’s key or a click ID is letters, digits and . _ ~ -"
        elif not said.get("why", "").strip():
            error = "Say why: it is kept in the audit log."
        elif not services.blocks.add(network, kind, name, self._model.now):
            error = f"That {kind} is blocked already."
        if error:
            return self._fraud(self._frame.period(), 422, error)
        self._frame.note("block", **{kind: name})
        self._model.renew()
        told = f"Nobody is credited to the {kind} {name} any more."
        return self._frame.done(told, "fraud", **period_args(self._frame.period()))

    def unblock(self) -> Response | BaseResponse:
        """Credit to a partner, or to a click, again."""
        facts = self._frame.forms.facts(request, self._frame.who.name, "unblock")
        if facts is None or len(facts) != 3:
            return self._frame.stale("fraud", **period_args(self._frame.period()))
        network, kind, name = facts
        if self._frame.services.blocks.remove(network, kind, name):
            self._frame.note("unblock", **{kind: name})
        self._model.renew()
        told = f"The {kind} {name} counts again."
        return self._frame.done(told, "fraud", **period_args(self._frame.period()))

    def reconciliation(self) -> Response:
        """They say 20, we show 17: which three?"""
        period = self._frame.period()
        found = self._last.get(self._frame.services)
        return self._comparison(period, None if found is None or found[0] != period else found)

    def _too_many(self, period: Period) -> int:
        """Count what was to be sent since a period began, where that is too many for a page; else 0."""
        counted = self._model.queries.by_status(Wanted(since=period.since, statuses=TOLD))
        number = sum(counted.values())
        return number if number > MOST_RECORDS else 0

    def compare(self) -> Response | BaseResponse:
        """Compare now; as a file where one is asked for."""
        if self._frame.forms.facts(request, self._frame.who.name, "compare") != []:
            return self._frame.stale("reconciliation", **period_args(self._frame.period()))
        period = self._frame.period()
        if self._too_many(period):
            return self._comparison(period, None)
        found = self._last[self._frame.services] = self._compared(period)
        if request.form.get("as") == "csv":
            rows = (
                sheets.difference_row(one.network, each)
                for one in found[1]
                for each in one.differences
            )
            return self._frame.file("differences.csv", sheets.DIFFERENCES, rows)
        return self._comparison(period, found)

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

    def _comparison(self, period: Period, found: _Found | None) -> Response:
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


def _currency(lines: list[Line]) -> str | None:
    known = currencies(lines)
    asked = request.args.get("currency")
    if asked is not None and asked not in known and known:
        raise UsageError(f"currency= is one of {', '.join(known)}")
    return asked or (known[0] if known else None)


def _first_currency(lines: list[Line]) -> str | None:
    return next(iter(currencies(lines)), None)
