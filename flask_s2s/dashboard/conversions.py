"""The pages about conversions and customers: was this one reported, and who is credited for it?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flask import Response, abort, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from ..click import Click, valid_click_id
from ..operations import sheets
from ..operations.acts import VERIFY, credit_by_hand, would_send
from ..operations.lanes import lanes_of
from ..operations.story import CustomerStory, story_of
from ..operations.words import Group
from ..rules.attribution import Reason, sentence
from ..rules.delivery import Delivery
from ..rules.states import Status
from ..store.outbox.ledger import Wanted as Again
from ..store.outbox.verification_queue import Chosen
from ..store.queries import Wanted
from . import formats
from .filters import (
    CAUSE_WORDS,
    KINDS,
    LARGEST,
    NAMES,
    NO_WORD,
    Filters,
    period_args,
    place_after,
    place_of,
)
from .frame import Frame
from .model import Model

#: Rows of a list, and of a file.
_ROWS = 50
_FILE = 10_000
#: Filters that an index serves, each by itself, whatever the time.
_INDEXED = ("kinds", "statuses", "partner", "reason", "customer", "detail")


class Conversions:
    """The pages for support."""

    def __init__(self, frame: Frame, model: Model) -> None:
        self._frame = frame
        self._model = model

    def conversions(self) -> Response | BaseResponse:
        """Show the latest conversions: was this invoice reported?"""
        if text := request.args.get("q", "").strip():
            return self._found(text)
        period = self._frame.period()
        filters, wrong = Filters.as_far_as(request.args, period)
        counted = self._model.by_status(filters.everywhere)
        numbers = counted or {}
        tabs = {group: sum(numbers.get(status, 0) for status in group.statuses) for group in Group}
        before = place_of(request.args.get("before"))
        rows = self._model.queries.page(filters.shown, _ROWS + 1, before)
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
            no_word=NO_WORD,
            partners=self._model.partner_keys(period),
            networks=list(self._frame.services.networks),
            lanes=lanes_of(self._frame.services.networks),
            text="",
        )

    def _elsewhere(self, shown: Wanted) -> Delivery | None:
        """Return the newest that a list would have without its period, where an index finds it."""
        whole = replace(shown, since=None, until=None)
        if whole.detail == "" or sum(bool(getattr(whole, one)) for one in _INDEXED) > 1:
            return None
        if replace(whole, **{one: getattr(Wanted(), one) for one in _INDEXED}) != Wanted():
            return None
        return next(iter(self._model.queries.page(whole, 1)), None)

    def _found(self, text: str) -> Response | BaseResponse:
        found = self._model.queries.find(text)
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
            no_word=NO_WORD,
            partners=[],
            networks=list(self._frame.services.networks),
            lanes=lanes_of(self._frame.services.networks),
            text=text,
        )

    def conversions_csv(self) -> Response:
        """The same list as a file."""
        filters = Filters.read(request.args, self._frame.period())
        rows = sheets.conversions(self._model.queries, filters.shown, _FILE)
        return self._frame.file("conversions.csv", sheets.CONVERSIONS, rows)

    def conversion(self, number: int) -> Response:
        """Show one conversion: its request, its answer and its next step."""
        story = self._model.queries.story(number) if number <= LARGEST else None
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
        services.ledger.retry(Again(delivery_id=number), self._model.now, services.settings.give_up)
        self._frame.note("retry", id=number)
        services.supervisor.wake()
        self._model.renew()
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
        self._model.renew()
        return self._frame.done(told, "conversion", number=number)

    def _may_ask(self, number: int, status: Status) -> bool:
        verifier, chosen = self._frame.services.supervisor.verifier(), Chosen(delivery=number)
        return status.unconfirmed and verifier.able and verifier.count(chosen) > 0

    def customers(self) -> Response | BaseResponse:
        """Find a customer by whatever is known of them."""
        text = request.args.get("q", "").strip()
        if text:
            found = self._model.queries.find(text)
            keys = list(dict.fromkeys(one.customer_key for one in found if one.customer_key))
            if len(keys) == 1:
                return redirect(self._frame.url("customer", key=keys[0]))
        else:
            found = self._model.queries.page(Wanted(kinds=("signup",)), _ROWS)
        return self._frame.page("customers.html", rows=found, text=text)

    def customer(self) -> Response | BaseResponse:
        """Explain why a customer is credited, or not."""
        key = request.args.get("key", "")
        if not key.strip():
            return redirect(self._frame.url("customers"))
        found = story_of(self._frame.services, key)
        if found is None:
            return self._frame.page("customer-unknown.html", status=404, key=key)
        return self._customer(found)

    def _customer(
        self,
        found: CustomerStory,
        status: int = 200,
        *,
        error: str = "",
        wrong: str = "",
        said: Mapping[str, str] | None = None,
    ) -> Response:
        return self._frame.page(
            "customer.html",
            status,
            customer=found,
            signup=found.signup,
            otherwise=self._otherwise(found),
            error=error,
            wrong=wrong,
            said=said or {},
        )

    def credit(self) -> Response | BaseResponse:
        """Credit a customer's sign-up to a click, by hand."""
        key, click_id = request.form.get("key", ""), request.form.get("click", "").strip()
        if self._frame.forms.facts(request, self._frame.who.name, "credit") != [key]:
            return self._frame.stale("customer", key=key)
        found = story_of(self._frame.services, key)
        if found is None:
            abort(404, f"Nothing is on record for customer {key}.")
        error, wrong = "", ""
        if not valid_click_id(click_id):
            error, wrong = "A click ID is letters, digits and . _ ~ -", "click"
        elif not request.form.get("why", "").strip():
            error, wrong = "Say why: it is kept in the audit log.", "why"
        else:
            services = self._frame.services
            click = services.touches.find(click_id) or Click(click_id=click_id, at=self._model.now)
            if credit_by_hand(services, key, click) is None:
                error = "This customer has a partner already."
            else:
                self._frame.note("credit", [key], click=click_id)
        if error:
            said = {"click": click_id, "why": request.form.get("why", "")}
            return self._customer(found, 422, error=error, wrong=wrong, said=said)
        self._model.renew()
        return self._frame.done("This customer is credited.", "customer", key=key)

    def _otherwise(self, story: CustomerStory) -> list[str]:
        """Say what would have been different, for a sign-up that nobody is credited for."""
        signup = story.signup
        if signup is None or signup.status is not Status.UNATTRIBUTED:
            return []
        said = {
            Reason.EXPIRED.value: self._too_late(signup, story.touches),
            Reason.NO_CLICK.value: [
                "A partner’s link, opened in this browser before the sign-up, would have been credited.",
                "Where the visitor came by one and the cookie was lost, s2s.identify() at an earlier "
                "form keeps the click.",
            ],
            Reason.CONSENT_DENIED.value: [
                "The visitor denied consent, so no click was kept. That is their choice."
            ],
            Reason.CONSENT_PENDING.value: [
                "The visitor had not answered the question for consent when they signed up."
            ],
            Reason.OUTSIDE_REQUEST.value: [
                "The sign-up was recorded outside a visitor’s request. Pass the click: "
                "track_signup(..., click=...)."
            ],
            Reason.RULE.value: [
                "The site’s own rule (S2S_RULE) decided it: "
                + (signup.detail or "no words of its own")
            ],
            Reason.TOKEN_USED.value: [
                "The link that carried the click had been used by another customer before."
            ],
        }.get(signup.reason, [sentence(signup.reason)])
        return [
            *said,
            "If the partner is right all the same, credit by hand: the sign-up and its payments go out.",
        ]

    def _too_late(self, signup: Delivery, touches: Sequence[Click]) -> list[str]:
        """Say until when a click would have counted, where one is known."""
        window = self._frame.services.settings.window_of(signup.network)
        said = [f"A click counts for {formats.span(window)} (S2S_WINDOW), and this one was older."]
        until = max((touch.at + window for touch in touches), default=None)
        # A window that was made longer since did not count then.
        if until is not None and until <= signup.created_at:
            by, moment = signup.created_at - until, formats.clock(until, self._model.local)
            said.append(f"It counted until {moment}: the sign-up came {formats.span(by)} later.")
        return [*said, "A longer window would do it for the next customer."]
