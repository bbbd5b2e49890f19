"""The frame around every page: who asks, what the app's model is, and what is said when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from flask import Response, abort, current_app, g, redirect, request, url_for
from markupsafe import Markup
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from ..errors import TooSlow, UsageError
from ..operations import sheets
from ..operations.period import Period
from ..rules.delivery import Delivery
from ..services import Services
from ..store.audit import Entry
from ..store.outbox.heartbeat import version
from . import formats
from .access import Access, Act, View
from .filters import BadFilter, page_args, period_of
from .rendering import fingerprint, render
from .safety import Forms

#: What a notice is signed for: nobody's link has a page say what was not done.
_TOLD = "told"
#: A part of an address has at most so many characters: a page repeats it in its links.
_LONGEST = 4096


class Frame:
    """The common part of one dashboard's pages: the user, the app's model, the frame."""

    def __init__(
        self,
        services: Callable[[], Services],
        access: Access,
        title: str,
        partner_name: Callable[[str], str | None] | None,
        around: Callable[[], Mapping[str, Any]],
    ) -> None:
        """`around` gives what stands on each page besides its own contents."""
        self._current = services
        self._access = access
        self._title = title
        self._partner_name = partner_name
        self._around = around

    @property
    def services(self) -> Services:
        """The services of the current app."""
        return self._current()

    @property
    def _local(self) -> datetime:
        """The time, in the zone of the reports."""
        return self.services.clock.now().astimezone(self.services.settings.report_zone)

    @property
    def who(self) -> View | Act:
        """The user of this request."""
        who: View | Act = g.s2s_dashboard_who
        return who

    @property
    def forms(self) -> Forms:
        """The forms of the current app."""
        return Forms(self.services.settings.secret_keys)

    def note(self, act: str, customers: Iterable[str] = (), **detail: Any) -> int:
        """Keep in the audit log what the one who asks has done; return the number of the act."""
        who = f"{self.who.name} (dashboard)"
        why = request.form.get("why", "").strip() or None
        entry = Entry(at=self.services.clock.now(), act=act, who=who, why=why, detail=detail)
        return self.services.audit.write(entry, customers)

    def let_in(self) -> Response | None:
        """Ask the host who this is: nobody gets a 404, who may only look gets no further than that."""
        who: object = self._access(request)
        if who is None:
            abort(404)
        if not isinstance(who, View | Act) or type(who.name) is not str or not who.name:
            raise UsageError(
                "access= of the dashboard must return View(name), Act(name) or None, "
                f"with a name of text, not {who!r}"
            )
        g.s2s_dashboard_who = who
        try:
            request.query_string.decode()
        except UnicodeDecodeError:
            # No page can be made of it: each of them reads the address.
            said = "This address cannot be read: it has bytes that are no text.\n"
            return Response(said, 400, mimetype="text/plain")
        if any("\0" in value for value in request.values.values()):
            raise UsageError("no text of ours has a NUL character, and no database takes one")
        if any(len(value) > _LONGEST for value in request.args.values()):
            raise UsageError(f"a part of this address has more than {_LONGEST:,} characters")
        if request.method not in ("GET", "HEAD", "OPTIONS") and not who.acts:
            abort(403, "You may look, not act.")
        return None

    def page(self, template: str, status: int = 200, **context: Any) -> Response:
        """Render a page with what its frame shows."""
        return Response(
            render(
                template,
                self.url,
                now=self._local,
                zone=str(self.services.settings.report_zone),
                who=self.who,
                title=self._title,
                here=request.endpoint,
                partner_name=self.partner_name,
                told=self._told(),
                network=", ".join(self.services.networks),
                version=version(),
                dry_run=self.services.settings.dry_run,
                static=self.static,
                clean_email=self.email,
                signed=self._signed,
                **self._around(),
                **context,
            ),
            status,
            mimetype="text/html",
        )

    def _signed(self, purpose: str, *facts: Any) -> Markup:
        """Return the hidden fields of a form: its token, and the one that Flask-WTF's protection asks for."""
        fields = {"token": self.forms.token(self.who.name, purpose, *facts)}
        if "csrf" in current_app.extensions:
            theirs: Any = current_app.jinja_env.globals["csrf_token"]
            fields[current_app.config["WTF_CSRF_FIELD_NAME"]] = theirs()
        hidden = Markup('<input type="hidden" name="{}" value="{}">')
        return Markup().join(hidden.format(*field) for field in fields.items())

    def url(self, page: str, **parameters: Any) -> str:
        """Return the address of a page, without what is not set."""
        given = {name: value for name, value in parameters.items() if value not in (None, "")}
        return url_for(f"{request.blueprint}.{page}", **given)

    def static(self, name: str) -> str:
        """Return the address of one of the dashboard's own files."""
        return url_for(f"{request.blueprint}.static", filename=name, v=fingerprint(name))

    def partner_name(self, key: str | None) -> str:
        """Return what a partner is called: by the host's own names, else the key."""
        if key is None:
            return "No partner’s key"
        named = None if self._partner_name is None else self._partner_name(key)
        return named or key

    def file(self, name: str, head: Sequence[str], rows: Iterable[list[Any]]) -> Response:
        """Return a table as a file that a browser saves, with the partners' names where the host has some.

        It is whole before its first byte goes: who reads it has all of it, or a page that says why there
        is none. Written while it is sent, it could end anywhere, and would pass for a whole one.
        """
        if self._partner_name is not None:
            place, named = head.index("partner_key"), cache(self.partner_name)
            head = (*head, "partner_name")
            rows = ([*row, row[place] and named(row[place])] for row in rows)
        made = Response("".join(sheets.lines(head, rows)), mimetype="text/csv")
        made.headers["Content-Disposition"] = f"attachment; filename={name}"
        return made

    def email(self, delivery: Delivery) -> str | None:
        """Return a sign-up's address: whole for who may act, cut for who may look."""
        address = getattr(delivery.conversion, "email", None)
        if address is None or self.who.acts:
            return address
        return formats.hidden_email(address)

    def period(self) -> Period:
        """Return the period that the address names."""
        g.s2s_dashboard_period = period = period_of(request.args, self._local)
        return period

    def done(self, told: str, page: str, **parameters: Any) -> BaseResponse:
        """Go on to a page, which tells this person what was done."""
        at = formats.clock(self._local, self._local, seconds=True)
        token = self.forms.token(self.who.name, _TOLD, at, told)
        return redirect(self.url(page, **parameters, told=token), 303)

    def _told(self) -> list[Any] | None:
        """Return when something was done and what, of an address that `done` has made."""
        return self.forms.read(request.args.get("told", ""), self.who.name, _TOLD)

    def back(self, **_: Any) -> BaseResponse:
        """Go from the address of a form, which is opened or shared like any other, to the page that has it."""
        place, asked = request.path.rpartition("/")[0], request.query_string.decode()
        return redirect(f"{request.script_root}{place}{asked and '?'}{asked}")

    def stale(self, page: str, **parameters: Any) -> Response:
        """Say that a form was too old to change anything, and where the new one is."""
        return self.page(
            "error.html",
            409,
            heading="Nothing was changed",
            text="This page was old, or was not made for you.",
            onward=("Here is the new one", self.url(page, **parameters)),
        )

    def on_http_error(self, error: HTTPException) -> Response | HTTPException:
        """Say what is wrong in the dashboard's own page, to who may see it."""
        if not hasattr(g, "s2s_dashboard_who"):
            return error
        words = {403: "You may look, not act", 404: "There is nothing here"}
        heading = words.get(error.code or 500, error.name)
        return self.page(
            "error.html",
            error.code or 500,
            heading=heading,
            text=error.description or "",
            onward=None,
        )

    def on_usage(self, error: UsageError) -> Response:
        """A filter in the address that cannot be: say which, and keep the others."""
        if not hasattr(g, "s2s_dashboard_who"):
            raise error
        names = error.names if isinstance(error, BadFilter) else ()
        rule, onward = request.url_rule, None
        # Of an address that acts nothing is left out: it would act on more.
        if names and rule is not None and "POST" not in (rule.methods or ()):
            rest = page_args(request.args, names)
            place = self.url(rule.endpoint.rpartition(".")[2], **(request.view_args or {}), **rest)
            onward = ("Show it without that", place)
        return self.page(
            "error.html",
            400,
            heading="This address cannot be read",
            text=str(error),
            onward=onward,
        )

    def on_slow(self, error: TooSlow) -> Response:
        """A page that is nothing but counts, and was not counted in time: say what is sooner."""
        if not hasattr(g, "s2s_dashboard_who"):
            raise error
        help, onward = "Try again, or ask on the command line, which waits for it.", None
        period, rule = g.get("s2s_dashboard_period"), request.url_rule
        if period is not None and len(period.days) > 1 and request.method == "GET" and rule:
            help = "The database is slow, or these are many: choose fewer days."
            rest = page_args(request.args, ("period", "from", "to"))
            page = rule.endpoint.rpartition(".")[2]
            place = self.url(page, **(request.view_args or {}), **rest, period="today")
            onward = ("Show today alone", place)
        answer = self.page(
            "error.html", 503, heading="Not counted in time", text=f"{error}. {help}", onward=onward
        )
        answer.headers["Retry-After"] = "10"
        return answer

    def on_database(self, error: Exception) -> Response:
        """The outbox cannot be read: say so, and when to come again."""
        if not hasattr(g, "s2s_dashboard_who"):
            raise error
        answer = self.page(
            "error.html",
            503,
            heading="The outbox cannot be read",
            text=f"The database did not answer ({type(error).__name__}). Clicks stay in the "
            "visitors’ cookies. Try again in ten seconds.",
            onward=None,
        )
        answer.headers["Retry-After"] = "10"
        return answer
