"""The pages about delivery: what failed, lanes and workers, settings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone

from flask import Response, abort, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from ..networks.messages import SUCCESSES, Refused
from ..operations.acts import RETRY, failed_again, meant, progress, will_happen
from ..rules.states import ALARMING, DISCARDABLE, RETRIABLE
from ..runtime.embedded import SILENCE
from ..store.outbox.ledger import Act
from ..store.outbox.ledger import Wanted as Meant
from ..store.queries import Wanted
from .filters import LARGEST, NO_WORD, command_of, meant_args, meant_by, period_args
from .frame import Frame
from .model import LATELY, Model, worst_first

#: From so many on, an act asks for the number to be written.
_WRITE_IT = 10
#: So many last words of what waits are shown.
_MOST_WORDS = 20
_WHY = "Say why: it is kept in the audit log."
#: What is told of an act that has no page of its own.
_DONE: dict[Act, str] = {
    "retry": "{} due now.",
    "ack": "{} acknowledged.",
    "discard": "{} discarded: never sent by itself.",
}
#: What each act may be narrowed to.
_OPEN_TO: dict[Act, tuple[str, ...]] = {
    "retry": RETRIABLE,
    "ack": ALARMING,
    "discard": DISCARDABLE,
}
#: Until when a lane may be paused; None: until somebody resumes it.
#: Each is asked with the time in the zone of the reports.
_UNTIL: dict[str, Callable[[datetime], datetime | None]] = {
    "1h": lambda now: now.astimezone(timezone.utc) + timedelta(hours=1),
    "4h": lambda now: now.astimezone(timezone.utc) + timedelta(hours=4),
    "tomorrow": lambda now: (
        now.replace(hour=8, minute=0, second=0, microsecond=0) + timedelta(days=1)
    ),
    "resumed": lambda now: None,
}


class Operation:
    """The pages for the engineer on call."""

    def __init__(self, frame: Frame, model: Model) -> None:
        self._frame = frame
        self._model = model

    def failed(self) -> Response:
        """Show the failures that a person must deal with."""
        period = self._frame.period()
        causes, last = self._model.causes(period), None
        if not causes:
            queries = self._model.queries
            last = next(iter(queries.page(Wanted(statuses=ALARMING), 1)), None)
        return self._frame.page(
            "failed.html",
            last=last,
            period=period,
            args=period_args(period),
            causes=causes,
            no_word=NO_WORD,
            retriable=RETRIABLE,
            alarming=ALARMING,
            again=self._model.sent_again(),
            unknown=sum(cause.unknown for cause in causes),
            total=sum(cause.number for cause in causes),
            amounts=_added(cause.amounts for cause in causes),
        )

    def retry(self) -> Response | BaseResponse:
        """Preview what would be sent again; on POST, send it."""
        return self._act("retry")

    def ack(self) -> Response | BaseResponse:
        """Preview the failures that would be acknowledged; on POST, acknowledge them."""
        return self._act("ack")

    def discard(self) -> Response | BaseResponse:
        """Preview what would never be sent; on POST, keep it back."""
        return self._act("discard")

    def _act(self, act: Act) -> Response | BaseResponse:
        ledger, period = self._frame.services.ledger, self._frame.period()
        wanted = meant_by(request.args, period, _OPEN_TO[act])
        counted = ledger.count(act, wanted)
        number, facts = sum(counted.values()), None
        if request.method == "POST":
            facts = self._frame.forms.facts(request, self._frame.who.name, f"{act} all")
            if facts is None:
                again = {**period_args(period), **meant_args(request.args)}
                return self._frame.stale(act, **again)
            written = request.form.get("count", "").strip()
            if facts != [number, _described(wanted)]:
                return self._preview(act, wanted, counted, 409, f"It is {number} by now.")
            if number >= _WRITE_IT and written != str(number):
                return self._preview(act, wanted, counted, 422, f"Write {number} to go on.")
            if not request.form.get("why", "").strip():
                return self._preview(act, wanted, counted, 422, _WHY)
            done = self._done(act, wanted)
            if act == RETRY and wanted.delivery_id is None:
                return redirect(self._frame.url("progress", number=done), 303)
            told = _DONE[act].format(number)
            if wanted.delivery_id is not None:
                return self._frame.done(told, "conversion", number=wanted.delivery_id)
            return self._frame.done(told, "failed", **period_args(period))
        return self._preview(act, wanted, counted, 200, "")

    def _done(self, act: Act, wanted: Meant) -> int:
        """Do it; return the number that it has in the audit log."""
        services, now = self._frame.services, self._model.now
        customers, ids = meant(services, act, wanted)
        if act == "ack":
            number, customers, ids = services.ledger.acknowledge(wanted, now), set(), []
        elif act == "discard":
            number = services.ledger.discard_all(wanted, now)
        else:
            number = services.ledger.retry(wanted, now, services.settings.give_up)
            services.supervisor.wake()
        given = {"status": wanted.status, "kind": wanted.kind, "error": wanted.detail}
        given["cause"] = request.args.get("cause") or None
        what = {name: value for name, value in given.items() if value is not None}
        self._model.renew()
        return self._frame.note(act, customers, **what, ids=ids, deliveries=number)

    def _preview(
        self,
        act: Act,
        wanted: Meant,
        counted: dict[tuple[str, str, str], int],
        status: int,
        error: str,
    ) -> Response:
        number, period = sum(counted.values()), self._frame.period()
        return self._frame.page(
            "act.html",
            status,
            act=act,
            number=number,
            counted=counted,
            first=self._frame.services.ledger.first(wanted, 3, act),
            wanted=wanted,
            period=period,
            args={**period_args(period), **meant_args(request.args)},
            line=command_of(act, wanted, request.args.get("cause") or None),
            write_it=number >= _WRITE_IT,
            facts=[number, _described(wanted)],
            error=error,
            happens=will_happen(self._frame.services, counted) if act == RETRY else [],
        )

    def pause(self) -> Response | BaseResponse:
        """Say how many will wait in a lane; on POST, send nothing in it."""
        services, now = self._frame.services, self._model.now
        lane, error = self._lane(), ""
        if request.method == "POST":
            if self._frame.forms.facts(request, self._frame.who.name, "pause") != [lane]:
                return self._frame.stale("pause", lane=lane)
            why, until = request.form.get("why", "").strip(), request.form.get("until", "")
            if why and until in _UNTIL:
                ends = _UNTIL[until](self._model.local)
                services.supervisor.breakers.pause(lane, why, ends, now)
                told = {} if ends is None else {"until": str(ends)}
                self._frame.note("pause", lane=lane, **told)
                self._model.renew()
                return self._frame.done(f"{lane} is paused.", "delivery")
            error = _WHY
        count = next(one.count for one in self._model.lanes() if one.count.lane == lane)
        return self._frame.page(
            "pause.html",
            422 if error else 200,
            lane=lane,
            waiting=count.due + count.later,
            error=error,
        )

    def resume(self) -> Response | BaseResponse:
        """Open a lane, whatever closed it."""
        services, lane = self._frame.services, self._lane()
        if self._frame.forms.facts(request, self._frame.who.name, "resume") != [lane]:
            return self._frame.stale("delivery")
        if services.supervisor.breakers.resume(lane, self._model.now):
            services.supervisor.wake()
            self._frame.note("resume", lane=lane)
        self._model.renew()
        return self._frame.done(f"{lane} is open.", "delivery")

    def _lane(self) -> str:
        lane = request.values.get("lane", "")
        if lane not in [one.count.lane for one in self._model.lanes()]:
            abort(404, "There is no such lane.")
        return lane

    def delivery(self) -> Response:
        """Show the lanes: why each rests, since when, and until when."""
        now = self._model.now
        waiting, dependent = self._model.waiting()
        minutes = self._model.tries(now - 4 * LATELY)
        return self._frame.page(
            "delivery.html",
            lanes=self._model.lanes(),
            problems=self._model.problems(),
            worker_seen=self._frame.services.supervisor.heartbeat.pulse()[1],
            workers=self._frame.services.supervisor.workers.all(),
            hour=_hour(minutes, self._model.local),
            losses=self._frame.services.losses.lately(now),
            waiting=waiting,
            dependent=dependent,
            most=_MOST_WORDS,
            silence=SILENCE,
            settings=self._frame.services.settings,
        )

    def progress(self, number: int) -> Response:
        """Show what became of an act on many."""
        entry = self._frame.services.audit.get(number) if number <= LARGEST else None
        if entry is None or not entry.ids:
            abort(404, f"There is no act {number} on conversions.")
        return self._frame.page(
            "progress.html",
            progress=progress(self._frame.services, entry),
            failed=failed_again(self._frame.services, entry),
        )

    def acts(self) -> Response:
        """Show the operators' acts, with their reasons."""
        return self._frame.page("acts.html", entries=self._frame.services.audit.newest(200))

    def settings(self) -> Response:
        """Show this process's settings."""
        return self._frame.page(
            "settings.html",
            findings=worst_first(self._model.findings()),
            settings=self._frame.services.settings,
            networks=list(self._frame.services.networks),
        )

    def check(self) -> BaseResponse:
        """Look again."""
        if self._frame.forms.facts(request, self._frame.who.name, "check") != []:
            return self._frame.stale("settings")
        self._model.renew()
        return redirect(self._frame.url("settings"), 303)

    def counted(self) -> Response:
        """Explain each number."""
        return self._frame.page("counted.html")


def _added(amounts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Add sums of money up, each currency by itself."""
    total: dict[str, int] = {}
    for one in amounts:
        for currency, amount in one.items():
            total[currency] = total.get(currency, 0) + amount
    return total


def _described(wanted: Meant) -> str:
    """Return which deliveries a form was made for, in short: what is not the same is not theirs."""
    return hashlib.sha256(repr(wanted).encode()).hexdigest()


def _hour(
    minutes: dict[tuple[datetime, str], int], now: datetime
) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return the tries of each of the last sixty minutes: accepted, to be tried later, refused."""
    first = now.astimezone(timezone.utc).replace(second=0, microsecond=0)
    hour = []
    for back in range(59, -1, -1):
        minute = first - timedelta(minutes=back)
        ended = {outcome: n for (at, outcome), n in minutes.items() if at == minute}
        accepted = sum(ended.pop(word, 0) for word in SUCCESSES)
        refused = ended.pop(Refused.word, 0)
        hour.append(
            (
                f"{minute.astimezone(now.tzinfo):%H:%M}",
                [("confirmed", accepted), ("open", sum(ended.values())), ("failed", refused)],
            )
        )
    return hour
