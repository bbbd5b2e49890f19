"""The pages about the programme: overview, conversions, customers, partners."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Response, abort, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from ..click import Click, valid_click_id, valid_partner_key
from ..errors import UsageError
from ..operations import sheets
from ..operations.acts import VERIFY, credit_by_hand
from ..operations.fraud import AT_ONCE, collectors
from ..operations.lanes import lanes_of
from ..operations.period import Period
from ..operations.report import Line, currencies, total
from ..operations.sending import would_send
from ..operations.words import Group
from ..rules.delivery import Delivery
from ..rules.states import Status
from ..store.audit import Kind
from ..store.outbox.ledger import Wanted as Again
from ..store.outbox.verification_queue import Chosen
from ..store.queries import Wanted
from . import formats
from .filters import (
    CAUSE_WORDS,
    KINDS,
    LARGEST,
    NAMES,
    SUB_IDS,
    Filters,
    period_args,
    place_after,
    place_of,
    sub_id_of,
)
from .frame import Frame
from .model import LIMIT, MOST_PARTNERS, customer

#: Rows of a list, and of a file.
_ROWS = 50
_FILE = 10_000
#: Filters that an index serves, each by itself, whatever the time.
_INDEXED = ("kinds", "statuses", "partner", "reason", "customer", "detail")


class Programme:
    """The pages for the partner manager and for support."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def overview(self) -> Response:
        """Does it earn, and does it move?"""
        period = self._frame.period()
        report = self._frame.model.overview(period)
        return self._frame.page(
            "overview.html",
            period=period,
            args=period_args(period),
            report=report,
            problems=self._frame.model.problems(),
            lanes=self._frame.model.lanes(),
            currency=None if report is None else _first_currency(report.partners),
            most_seconds=LIMIT,
            able=self._frame.services.supervisor.verifier().able,
        )

    def conversions(self) -> Response | BaseResponse:
        """Show the latest conversions: was this invoice reported?"""
        if text := request.args.get("q", "").strip():
            return self._found(text)
        period = self._frame.period()
        filters, wrong = Filters.as_far_as(request.args, period)
        counted = self._frame.model.by_status(filters.everywhere)
        numbers = counted or {}
        tabs = {group: sum(numbers.get(status, 0) for status in group.statuses) for group in Group}
        before = place_of(request.args.get("before"))
        rows = self._frame.model.queries.page(filters.shown, _ROWS + 1, before)
        older = rows[_ROWS - 1] if len(rows) > _ROWS else None
        return self._frame.page(
            "conversions.html",
            400 if wrong else 200,
            period=period,
            args={**period_args(period), **filters.given},
            filters=filters.given,
            wrong=wrong,
            said={name: request.args[name] for name in NAMES if name in request.args},
            line=filters.command_line(period),
            most_of_a_file=_FILE,
            tabs=None if counted is None else tabs,
            total=sum(tabs.values()),
            matching=sum(numbers.get(one, 0) for one in filters.shown.statuses or numbers),
            rows=rows[:_ROWS],
            older=older and place_after(older.created_at, older.id),
            elsewhere=None if rows or before else self._elsewhere(filters.shown),
            kinds=KINDS,
            causes=CAUSE_WORDS,
            partners=self._frame.model.partner_keys(period),
            networks=list(self._frame.services.networks),
            lanes=lanes_of(self._frame.services),
            text="",
        )

    def _elsewhere(self, shown: Wanted) -> Delivery | None:
        """Return the newest that a list would have without its period, where an index finds it."""
        whole = replace(shown, since=None, until=None)
        if sum(bool(getattr(whole, one)) for one in _INDEXED) > 1:
            return None
        if replace(whole, **{one: getattr(Wanted(), one) for one in _INDEXED}) != Wanted():
            return None
        return next(iter(self._frame.model.queries.page(whole, 1)), None)

    def _found(self, text: str) -> Response | BaseResponse:
        found = self._frame.model.queries.find(text)
        if len(found) == 1:
            return redirect(self._frame.url("conversion", number=found[0].id))
        period = self._frame.period()
        return self._frame.page(
            "conversions.html",
            period=period,
            args=period_args(period),
            filters={},
            wrong=[],
            said={},
            line=None,
            most_of_a_file=_FILE,
            tabs=None,
            total=len(found),
            matching=len(found),
            rows=found,
            older=None,
            elsewhere=None,
            kinds=KINDS,
            causes=CAUSE_WORDS,
            partners=[],
            networks=list(self._frame.services.networks),
            lanes=lanes_of(self._frame.services),
            text=text,
        )

    def conversions_csv(self) -> Response:
        """The same list as a file."""
        filters = Filters.read(request.args, self._frame.period())
        rows = sheets.conversions(self._frame.model.queries, filters.shown, _FILE)
        return self._frame.file("conversions.csv", sheets.CONVERSIONS, rows)

    def conversion(self, number: int) -> Response:
        """Show one conversion: its request, its answer and its next step."""
        story = self._frame.model.queries.story(number) if number <= LARGEST else None
        if story is None:
            abort(404, f"There is no conversion {number}.")
        return self._frame.page(
            "conversion.html",
            story=story,
            one=story.delivery,
            goes_out=self._sent(story.delivery),
            asked_for=self._frame.services.supervisor.verifier().asks_for(story.delivery),
            may_discard=story.delivery.status.discardable and story.delivery.conversion is not None,
            may_ask=self._frame.who.acts and self._may_ask(number, story.delivery.status),
            may_retry=story.delivery.status.retriable and story.delivery.conversion is not None,
        )

    def _sent(self, delivery: Delivery) -> tuple[str, str] | None:
        """Return the request of a conversion, and its body in lines; of a person what may be seen."""
        would = would_send(self._frame.services, delivery)
        if would is None:
            return None
        body = would["body"] or {}
        if not self._frame.who.acts:
            body = {name: formats.hidden(name, value) for name, value in body.items()}
        lines = json.dumps(body, indent=2, ensure_ascii=False) if body else ""
        return f"{would['method']} {would['url']}", lines

    def retry_one(self, number: int) -> BaseResponse:
        """Send one conversion again, now."""
        if self._frame.forms.facts(request, self._frame.who.name, "retry") != [number]:
            return self._frame.stale("conversion", number=number)
        services = self._frame.services
        services.ledger.retry(
            Again(delivery_id=number), self._frame.model.now, services.settings.give_up
        )
        self._frame.note("retry", id=number)
        services.supervisor.wake()
        self._frame.model.renew()
        return self._frame.done(
            "It is due now, and goes out by itself.", "conversion", number=number
        )

    def ask(self, number: int) -> Response | BaseResponse:
        """Ask the network again whether it has one that it accepted."""
        if self._frame.forms.facts(request, self._frame.who.name, VERIFY) != [number]:
            return self._frame.stale("conversion", number=number)
        supervisor, told = self._frame.services.supervisor, "There was nothing to ask for."
        for looked in supervisor.verifier().look(Chosen(delivery=number)):
            customer = looked.delivery.customer_key
            self._frame.note(VERIFY, [] if customer is None else [customer], id=number)
            told = f"The network was asked: {looked.verdict.detail}."
        supervisor.wake()
        self._frame.model.renew()
        return self._frame.done(told, "conversion", number=number)

    def _may_ask(self, number: int, status: Status) -> bool:
        verifier, chosen = self._frame.services.supervisor.verifier(), Chosen(delivery=number)
        return status.unconfirmed and verifier.able and verifier.count(chosen) > 0

    def customers(self) -> Response | BaseResponse:
        """Find a customer by whatever is known of them."""
        text = request.args.get("q", "").strip()
        if text:
            found = self._frame.model.queries.find(text)
            keys = list(dict.fromkeys(one.customer_key for one in found if one.customer_key))
            if len(keys) == 1:
                return redirect(self._frame.url("customer", key=keys[0]))
        else:
            found = self._frame.model.queries.page(Wanted(kinds=("signup",)), _ROWS)
        return self._frame.page("customers.html", rows=found, text=text)

    def customer(self) -> Response | BaseResponse:
        """Explain why a customer is credited, or not."""
        key = request.args.get("key", "")
        if not key.strip():
            return redirect(self._frame.url("customers"))
        found = customer(self._frame.model, key)
        if found is None:
            return self._frame.page("customer-unknown.html", status=404, key=key)
        return self._frame.page(
            "customer.html", customer=found, signup=found.signup, error="", wrong="", said={}
        )

    def credit(self) -> Response | BaseResponse:
        """Credit a customer's sign-up to a click, by hand."""
        key, click_id = request.form.get("key", ""), request.form.get("click", "").strip()
        if self._frame.forms.facts(request, self._frame.who.name, "credit") != [key]:
            return self._frame.stale("customer", key=key)
        found = customer(self._frame.model, key)
        if found is None:
            abort(404, f"Nothing is on record for customer {key}.")
        error, wrong = "", ""
        if not valid_click_id(click_id):
            error, wrong = "A click ID is letters, digits and . _ ~ -", "click"
        elif not request.form.get("why", "").strip():
            error, wrong = "Say why: it is kept in the audit log.", "why"
        else:
            services = self._frame.services
            click = services.touches.find(click_id) or Click(
                click_id=click_id, at=self._frame.model.now
            )
            if credit_by_hand(services, key, click) is None:
                error = "This customer has a partner already."
            else:
                self._frame.note("credit", [key], click=click_id)
        if error:
            return self._frame.page(
                "customer.html",
                status=422,
                customer=found,
                signup=found.signup,
                error=error,
                wrong=wrong,
                said={"click": click_id, "why": request.form.get("why", "")},
            )
        self._frame.model.renew()
        return self._frame.done("This customer is credited.", "customer", key=key)

    def partners(self) -> Response:
        """Show each partner's results, in money."""
        period = self._frame.period()
        lines = self._frame.model.partners(period)
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
        lines = self._frame.model.partners(self._frame.period())
        currency = _currency(lines) or ""
        rows = (sheets.report_row(line, "partner", currency) for line in lines)
        return self._frame.file("partners.csv", sheets.report_head("partner"), rows)

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
            found=self._frame.model.suspicion(period),
            clicks=self._frame.model.sums.clicks(period.since, period.until),
            collecting=collectors(services, self._frame.model.now),
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
        elif not services.blocks.add(network, kind, name, self._frame.model.now):
            error = f"That {kind} is blocked already."
        if error:
            return self._fraud(self._frame.period(), 422, error)
        self._frame.note("block", **{kind: name})
        self._frame.model.renew()
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
        self._frame.model.renew()
        told = f"The {kind} {name} counts again."
        return self._frame.done(told, "fraud", **period_args(self._frame.period()))

    def partner(self) -> Response | BaseResponse:
        """Show one partner's results, by sub ID and day."""
        period, key = self._frame.period(), request.args.get("key", "")
        if not key.strip():
            return redirect(self._frame.url("partners", **period_args(period)))
        lines = self._frame.model.partners(period, key)
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
            subs=self._frame.model.sub_ids(key, period, place),
            nth=place,
            sub_ids=SUB_IDS,
            latest=self._frame.model.queries.page(shown, 10),
            currencies=currencies([line]),
        )


def _currency(lines: list[Line]) -> str | None:
    known = currencies(lines)
    asked = request.args.get("currency")
    if asked is not None and asked not in known and known:
        raise UsageError(f"currency= is one of {', '.join(known)}")
    return asked or (known[0] if known else None)


def _first_currency(lines: list[Line]) -> str | None:
    return next(iter(currencies(lines)), None)
