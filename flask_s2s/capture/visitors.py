"""One site's visitors: a request's click, and what the response to it has to do.

`Visitors` decides when a request comes, and has the click's row written at once. `AskingVisitors`
serves a site that asks for consent: nothing is kept of a visitor before they have said yes. There a
landing's click is only read when it comes, and kept when the response starts: by then the view has
run, and a Flask app's own context is there for `S2S_CONSENT` to look into. The page that the landing
leads to still shows the click (Referer), but is not redirected: the next one does not. Denied, what
was kept before is erased, and the cookie goes after it: without it nobody could find the rest.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..click import MAX_TOUCHES, Click
from ..click.formats import ClickFormat, Clicks
from ..clock import Clock
from ..config.settings import Settings
from ..rules.attribution import Attribution, Reason, earlier, winner
from ..signals import click_captured, click_ignored
from ..store.clicks import Touches
from ..store.database.clock import Times
from .chain import LoopGuard, came, may_be_redirected, token_in, with_token
from .consent import WITHDRAWN, Consent, Permission
from .cookie import RecordSigner
from .evidence import Environ, Evidence, page_of, path_of
from .landing import ignored_because, kept_of, told_of
from .redirects import PARAMETER as HOPS
from .redirects import cleaned
from .token import NONCE, PARAMETER, TokenSigner, host_of, own_and_token, with_state
from .token import with_token as bound_to

log = logging.getLogger("flask_s2s.capture")

#: What a landing says instead of a click ID.
_UNREAD = {
    "placeholder": "a placeholder that nobody has filled in, or nothing",
    "unreadable": "it is not one, and none can be read out of it",
}
#: A conversion of this request was credited to a click that an address brought.
CREDITED = "flask_s2s.credited"
#: What may bring a form.
WITH_FORMS = ("POST", "PUT", "PATCH")
#: Whoever asked for this has asked for enough rows: the click is kept in the cookie alone.
ROWLESS = "flask_s2s.rowless"
#: The request is a script's, whose page the landing was.
_BY_SCRIPT = "flask_s2s.by_script"


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that brought a click, and what its response is to do."""

    #: To keep in the cookie; None: nothing is kept.
    click: Click | None = None
    #: Whether the network's link brought it now: then it gets a row.
    is_landing: bool = False
    #: The visitor's earlier clicks, which the cookie keeps too.
    touches: tuple[Click, ...] = ()
    #: Whether the cookie that the browser has is to go.
    expires: bool = False
    #: Where the browser is sent instead: to the same page, by another address.
    moved: str | None = None
    #: Whether the page's address has a click that the next page is to be told, and nobody else.
    told: bool = False
    #: Whether that is a token.
    has_token: bool = False
    #: Whether no cache may keep the response, which is of nobody's click.
    uncached: bool = False


class Visitors:
    """Reads requests (WSGI environs) and remembers the clicks that they bring."""

    #: Whether a request that brings nothing has to be looked at too.
    asks = False

    def __init__(
        self,
        *,
        settings: Settings,
        formats: Clicks,
        evidence: Evidence,
        signer: RecordSigner,
        tokens: TokenSigner,
        states: TokenSigner,
        touches: Touches,
        clock: Clock,
        chance: Callable[[int], bytes],
        tell: Callable[..., None],
        static: str | None,
    ) -> None:
        """`states` signs what comes back with a state; `static` says where the site's files are, and
        `tell` sends a signal.
        """
        self._settings = settings
        #: How clicks are known, in all networks' forms.
        self.formats = formats
        self.evidence = evidence
        self.signer = signer
        self._tokens = tokens
        self._states = states
        self._touches = touches
        self._clock = clock
        self._chance = chance
        self._tell = tell
        self._static = static
        self._guard = LoopGuard()
        #: Landings that made no click since the process started, by why: `prefetch`, `robot`,
        #: `not_navigation`; `placeholder` and `unreadable` where the link named no click ID.
        self.ignored: Counter[str] = Counter()

    def arrive(self, environ: Environ) -> Visit | None:
        """Decide on a request with a click in an address; None: it changes nothing."""
        visit = self._land(environ) or self._carried(environ) or self._ignored(environ)
        # A script's request has an Origin, and does not follow a redirect to a page.
        if self._settings.strip_params and not self.asks and "HTTP_ORIGIN" not in environ:
            return self._stripped(environ, visit)
        return visit

    def _carried(self, environ: Environ) -> Visit | None:
        """Decide on a click that is in the address, or in the address of the page before."""
        address, found = self.evidence.address(environ), self.evidence.found(environ)
        ignored = ignored_because(environ)
        if address.copied and _can_be_cleaned(environ):
            # Left there it would count after all on the next page, whose page before this one is.
            moved = with_token(environ, None)
            return Visit(moved=moved) if moved else None
        if address.click is None:
            return None
        counts = found.reason is Reason.CARRIED and found.click is not None
        if address.handed_over and counts and ignored is None:
            self._brought(environ, address.click, self._clock.now())
            self._accepted(environ, address.click)
        click, touches = (found.click, found.touches) if counts else (None, ())
        if address.arrived:
            self._guard.came_through(environ)
            click = click if ignored is None else None
            return Visit(click, touches=touches, told=True, has_token=True)
        return self._next(environ, Visit(click, touches=touches)) if counts else None

    def _next(self, environ: Environ, visit: Visit) -> Visit:
        """Send a page to itself with the click's token; what cannot be sent is credited as it is."""
        if self.asks:
            # Asked when the response starts: a redirect would be before anybody has agreed.
            seen = ignored_because(environ) is None or environ["REQUEST_METHOD"] in WITH_FORMS
            return visit if seen else replace(visit, click=None)
        if visit.click is None or not may_be_redirected(environ, self._static):
            return replace(visit, click=None)
        token, now = self.evidence.address(environ).token, self._clock.now()
        token = token or self._tokens.dumps(visit.click, now, self._chance(NONCE))
        moved = with_token(environ, token)
        if moved is None or not self._guard.lets(environ, now):
            return visit
        # Its landing may have been a cache's, or have been fetched before anybody looked.
        self._touches.remember(visit.click, now)
        return replace(visit, moved=moved)

    def _ignored(self, environ: Environ) -> Visit | None:
        """Let no cache answer a person's landing with what a robot or a prefetch was shown."""
        query = environ.get("QUERY_STRING") or ""
        if not self.formats.may_be_in(query) or environ.get("REQUEST_METHOD") != "GET":
            return None
        why = ignored_because(environ, robots=self._settings.robots)
        if why is None or self.formats.read(query, self._clock.now()) is None:
            return None
        self._ignore(why)
        return Visit(uncached=True)

    def _stripped(self, environ: Environ, visit: Visit | None) -> Visit | None:
        """Send the browser to the address without the click, once it is certain to keep it.

        A cookie that came back proves that. Until then the click goes along in a token for this
        very page, because a browser that keeps no cookie would have lost it.
        """
        query, token = came(environ)[0], None
        if visit is None or visit.uncached or visit.moved:
            return visit
        if not self.evidence.is_proven(environ):
            if PARAMETER in query or not (visit.is_landing and visit.click and visit.told):
                return visit
            now, nonce = self._clock.now(), self._chance(NONCE)
            token = self._tokens.dumps(visit.click, now, nonce, to=page_of(environ))
        elif not visit.is_landing and ignored_because(environ) is not None:
            return visit
        moved = cleaned(path_of(environ), query, token, self.formats)
        return replace(visit, moved=moved) if moved else visit

    def answer(self, environ: Environ, visit: Visit) -> Visit:
        """Return what the response does after all, now that it starts."""
        if not self._denies(environ):
            return visit
        return Visit(is_landing=visit.is_landing, expires=self.evidence.has_cookie(environ))

    def attribution_of(self, environ: Environ | None) -> Attribution:
        """Return which click this request's visitor has, and why, or why none. Read once."""
        if environ is None:
            return Attribution(None, Reason.OUTSIDE_REQUEST)
        if self._denies(environ):
            return Attribution(None, Reason.CONSENT_DENIED)
        return self.evidence.found(environ)

    def crediting(self, environ: Environ | None, named: Click | None = None) -> Attribution:
        """Return the same for a conversion; a click that an address brought goes no further then.

        A click that the site itself names comes first.
        """
        if named is not None:
            return Attribution(named, Reason.EXPLICIT)
        found = self.attribution_of(environ)
        if environ is not None and found.reason is Reason.CARRIED:
            environ[CREDITED] = True
        return found

    def hand_over(self, environ: Environ, url: str) -> str:
        """Return `url` with this visitor's click in it, where it leads to another site."""
        click, host = self.attribution_of(environ).click, host_of(url)
        if click is None or host is None or host == environ.get("HTTP_HOST", "").lower():
            return url
        now, nonce = self._clock.now(), self._chance(NONCE)
        return bound_to(url, self._tokens.dumps(click, now, nonce, to=host))

    def state(self, environ: Environ, own: str) -> str:
        """Return a site's own state with this visitor's click in it, if there is one."""
        click = self.attribution_of(environ).click
        if click is None:
            return own
        return with_state(own, self._states.dumps(click, self._clock.now(), self._chance(NONCE)))

    def from_state(self, environ: Environ, state: str) -> str:
        """Return a site's own state, and let the request have the click that came with it.

        What the browser presents itself comes first: it may be newer.
        """
        own, token = own_and_token(state)
        carried = self._states.loads(token, self._clock.now()) if token else None
        found = self.evidence.found(environ)
        if carried is not None and found.click is None:
            click, spent_as = carried.click, carried.id
            found = replace(found, click=click, reason=Reason.STATE, token=spent_as)
            self.evidence.note(environ, found)
        return own

    def fetch(self, environ: Environ) -> Visit | None:
        """Decide on a click, or a click token, that the script of a page tells of."""
        environ[_BY_SCRIPT] = True
        return self._land(environ, "empty") or self._told(environ)

    def _told(self, environ: Environ) -> Visit | None:
        """Read the token that a script found in its page's address, or in that of the page before."""
        now, token = self._clock.now(), token_in(came(environ)[0])
        carried = self._tokens.loads(token, now) if token else None
        host = environ.get("HTTP_HOST", "").lower()
        if carried is None or not carried.is_for(host) or self.evidence.has_cookie(environ):
            return None
        click = carried.click
        self._brought(environ, click, now)
        self.evidence.note(environ, Attribution(click, Reason.CARRIED, token=carried.id))
        self._accepted(environ, click)
        return Visit(click, is_landing=True)

    def _land(self, environ: Environ, destination: str = "document") -> Visit | None:
        query = environ.get("QUERY_STRING") or ""
        if not self.formats.may_be_in(query):
            return None
        if ignored_because(environ, destination, self._settings.robots) is not None:
            return None
        now = self._clock.now()
        new, read = self.formats.read(query, now), self.evidence.noted(environ)
        if new is None:
            self._unread(query)
            return None
        if read is not None and read.reason is Reason.LANDING:
            return None
        kept = self.evidence.kept(environ, now)
        self._brought(environ, new, now)
        if winner(kept.click, new, self._settings.attribution) is not new:
            if kept.click is None or kept.click.click_id != new.click_id:
                return self._passed_over(environ, kept, new)
            # A redirect of the site's own brought it: the next host may not have the cookie.
            passed_on = HOPS in query and kept.reason is Reason.COOKIE
            return Visit(kept.click, True, kept.touches) if passed_on else None
        touches = earlier(new, kept)
        self.evidence.note(environ, Attribution(new, Reason.LANDING, touches=touches))
        self._accepted(environ, new)
        return Visit(new, True, touches, told=self._settings.carry != "off")

    def _unread(self, query: str) -> None:
        """Count a landing whose link names a click ID that is none, and tell of the first."""
        why = self.formats.unread_because(query)
        if why is None:
            return
        self._ignore(why)
        if self.ignored[why] == 1:
            log.warning(
                "s2s.click.%s: a landing names a click ID that is none (%s); those that follow are "
                "counted and not logged. Look at the partner's link",
                why,
                _UNREAD[why],
                extra={"action": f"click.{why}"},
            )

    def _ignore(self, why: str) -> None:
        self.ignored[why] += 1
        self._tell(click_ignored, reason=why)

    def _passed_over(self, environ: Environ, kept: Attribution, new: Click) -> Visit | None:
        """The first click counts, and the cookie keeps this one for the history."""
        known = {(touch.network, touch.click_id) for touch in kept.touches}
        if kept.click is None or kept.reason is not Reason.COOKIE:
            return None
        if (new.network, new.click_id) in known:
            return None
        touches = (new, *kept.touches)[:MAX_TOUCHES]
        self.evidence.note(environ, replace(kept, touches=touches))
        return Visit(kept.click, True, touches)

    def _denies(self, environ: Environ) -> bool:
        return WITHDRAWN in environ

    def _brought(self, environ: Environ, click: Click, now: datetime) -> None:
        """A landing brought a click."""
        self._remember(environ, click, now, on_page=True)

    def _remember(self, environ: Environ, click: Click, now: datetime, *, on_page: bool) -> None:
        if ROWLESS not in environ:
            keeps = on_page and self._settings.keep_landing
            of = told_of if _BY_SCRIPT in environ else kept_of
            landing = of(environ, *came(environ)) if keeps else None
            self._touches.remember(click, now, landing)

    def _accepted(self, environ: Environ, click: Click) -> None:
        """It is the visitor's from now on."""
        self._tell(click_captured, click=click)


def _can_be_cleaned(environ: Environ) -> bool:
    """Say whether a copied token's address is one that a browser shows, or will."""
    if environ.get("REQUEST_METHOD") != "GET" or ignored_because(environ) == "prefetch":
        return False
    return environ.get("HTTP_SEC_FETCH_DEST") != "empty" and "HTTP_ORIGIN" not in environ


#: A landing's click that has no row yet.
_HELD = "flask_s2s.held"
#: A click that is the visitor's, once it may be kept.
_ACCEPTED = "flask_s2s.accepted"


class AskingVisitors(Visitors):
    """Reads requests, and remembers what it may."""

    asks = True

    def __init__(
        self, *, consent: Consent, erase: Callable[[Sequence[Click]], bool], **rest: Any
    ) -> None:
        """`erase` forgets what was stored of these clicks' visits; False: not yet. Never raises."""
        super().__init__(**rest)
        self._consent = consent
        self._erase = erase

    def arrive(self, environ: Environ) -> Visit | None:
        """Decide on any request; None: its response is the site's own whatever the visitor says."""
        query, referer = came(environ)
        brings = self.formats.may_be_in(query) or self.formats.may_be_in(referer)
        visit = super().arrive(environ) if brings else None
        if visit is not None:
            return visit
        concerned = _HELD in environ or environ.get("REQUEST_METHOD") in WITH_FORMS
        return Visit() if concerned or self.evidence.has_cookie(environ) else None

    def answer(self, environ: Environ, visit: Visit) -> Visit:
        """Ask, now that the response starts, and return what it does."""
        match self._consent.of(environ):
            case Permission.GRANTED:
                return self._kept(environ, visit)
            case Permission.PENDING:
                return replace(visit, click=None)
            case Permission.DENIED:
                return Visit(is_landing=visit.is_landing, expires=self._erased(environ))

    def attribution_of(self, environ: Environ | None) -> Attribution:
        """Ask, and return the click that may be known, or why it may not."""
        if environ is None:
            return Attribution(None, Reason.OUTSIDE_REQUEST)
        said = self._consent.of(environ)
        if said is Permission.DENIED:
            return Attribution(None, Reason.CONSENT_DENIED)
        found = self.evidence.found(environ)
        if said is Permission.PENDING and found.reason is Reason.STATE:
            # It was made when they had agreed; their answer may be in a cookie that did not come.
            return found
        return found if said is Permission.GRANTED else Attribution(None, Reason.CONSENT_PENDING)

    def _denies(self, environ: Environ) -> bool:
        return self._consent.of(environ) is Permission.DENIED

    def _brought(self, environ: Environ, click: Click, now: datetime) -> None:
        environ[_HELD] = click

    def _accepted(self, environ: Environ, click: Click) -> None:
        environ[_ACCEPTED] = click

    def _kept(self, environ: Environ, visit: Visit) -> Visit:
        held = environ.get(_HELD)
        row = held or visit.click
        if row is not None:
            self._remember(environ, row, self._clock.now(), on_page=held is not None)
        # Carried here it may be new: nobody was told when it came.
        new = environ.get(_ACCEPTED) or (None if visit.is_landing else visit.click)
        if new is not None:
            self._tell(click_captured, click=new)
        return visit

    def _erased(self, environ: Environ) -> bool:
        """Erase what the visitor presents; say whether its cookie may go now."""
        has_cookie = self.evidence.has_cookie(environ)
        if WITHDRAWN in environ or not (has_cookie or self.evidence.address(environ).click):
            return has_cookie
        clicks = self.evidence.clicks(environ)
        return (not clicks or self._erase(clicks)) and has_cookie


def visitors_of(
    settings: Settings,
    forms: Iterable[ClickFormat],
    *,
    touches: Touches,
    erase: Callable[[Sequence[Click]], bool],
    times: Times,
    chance: Callable[[int], bytes],
    tell: Callable[..., None],
    static: str | None,
) -> Visitors:
    """Return one app's: such as ask, where its settings want that.

    `forms` are its networks' clicks; `erase` is as of `AskingVisitors`.
    """
    signing = (settings.secret_keys, settings.window, settings.windows)
    signer, tokens, formats = RecordSigner(*signing), TokenSigner(*signing), Clicks(forms)
    evidence = Evidence(
        settings=settings,
        formats=formats,
        signer=signer,
        tokens=tokens,
        clock=times.clock,
        shut=times.witness.shut,
    )
    parts: dict[str, Any] = {
        "settings": settings,
        "formats": formats,
        "evidence": evidence,
        "signer": signer,
        "tokens": tokens,
        "states": TokenSigner(*signing, purpose="state"),
        "touches": touches,
        "clock": times.clock,
        "chance": chance,
        "tell": tell,
        "static": static,
    }
    consent = Consent(settings.consent, gpc_denies=settings.gpc == "deny")
    if not consent.asks:
        return Visitors(**parts)
    return AskingVisitors(consent=consent, erase=erase, **parts)
