"""Evidence of a visitor's click in a request: its cookies, its address, and the page before.

Read once for a request, where somebody asks. A token in the address counts where the page before had
the same click in its own, or in the one host or page that it was made for. What only the page before
has counts where no cookie of ours came: it never outranks one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..click import Click, Kept
from ..click.formats import Clicks
from ..clock import Clock
from ..config.settings import Settings
from ..rules.attribution import Attribution, Reason, earlier, newest_click, winner
from .chain import came, has_token, is_of_a_page, query_before, token_in
from .cookie import RecordSigner, read_cookies
from .landing import ignored_because
from .token import Carried, TokenSigner

Environ = dict[str, Any]

_NO_COOKIE = newest_click(())
#: A comma between two cookies. One within a value stays: what is cut off there would pass for an ID.
_JOINED = re.compile(r",(?=[^;,=]+=)")


@dataclass(frozen=True, slots=True)
class Address:
    """The click in a request's address, and in that of the page before."""

    #: The token that counts, for the next address; None: the page before is the landing.
    token: str | None = None
    #: The token is in this request's own address, and counts there.
    arrived: bool = False
    #: It came from another site.
    handed_over: bool = False
    #: The address has a good token that does not count.
    copied: bool = False
    #: What counts of both, if anything: the click, and the token's own word of it.
    click: Click | None = None
    carried: Carried | None = None


class Evidence:
    """Reads what the browsers of one site's visitors present."""

    def __init__(
        self,
        *,
        settings: Settings,
        formats: Clicks,
        signer: RecordSigner,
        tokens: TokenSigner,
        clock: Clock,
        shut: Callable[[datetime], datetime],
    ) -> None:
        """`shut` says by which moment the window of a conversion's click is judged."""
        self._settings = settings
        self._formats = formats
        self._signer = signer
        self._tokens = tokens
        self._clock = clock
        self._shut = shut
        # An app within another has a cookie of its own, or shares what is found with its cookie.
        self._noted = f"flask_s2s.attribution.{settings.cookie_name}"
        self._addressed = f"flask_s2s.address.{settings.cookie_name}"

    def found(self, environ: Environ) -> Attribution:
        """Return which click the browser presents, or why none."""
        found = self.noted(environ)
        if found is None:
            found = self._with_fallback(environ, self._presented(environ))
            self.note(environ, found)
        return found

    def noted(self, environ: Environ) -> Attribution | None:
        """Return what the request was found to have so far."""
        return environ.get(self._noted)

    def note(self, environ: Environ, found: Attribution) -> None:
        """Keep what the request has."""
        environ[self._noted] = found

    def kept(self, environ: Environ, now: datetime, shut: datetime | None = None) -> Attribution:
        """Return which click the browser's cookies have, or why none."""
        if self._settings.cookie_name not in environ.get("HTTP_COOKIE", ""):
            return _NO_COOKIE  # a new visitor's, as most are
        cookies = self._cookies(environ)
        return newest_click([self._signer.read(cookie, now, shut) for cookie in cookies])

    def address(self, environ: Environ) -> Address:
        """Return what the addresses have of a click."""
        found: Address | None = environ.get(self._addressed)
        if found is None:
            found = environ[self._addressed] = self._address(environ)
        return found

    def clicks(self, environ: Environ) -> list[Click]:
        """Return every click that the request has in its cookies or in an address."""
        found, now = self.found(environ), self._clock.now()
        records = [self._signer.read(cookie, now) for cookie in self._cookies(environ)]
        kept = [(one.click, *one.touches) for one in records if isinstance(one, Kept)]
        brought = () if found.click is None else (found.click, *found.touches)
        return list(dict.fromkeys(click for clicks in (*kept, brought) for click in clicks))

    def has_cookie(self, environ: Environ) -> bool:
        """Say whether the browser presents a cookie of ours, readable or not."""
        return bool(self._cookies(environ))

    def is_proven(self, environ: Environ) -> bool:
        """Say whether a good cookie came: it has been seen to come back."""
        return self.kept(environ, self._clock.now()).reason is Reason.COOKIE

    def _with_fallback(self, environ: Environ, found: Attribution) -> Attribution:
        """Add what the network's own script has kept, where the cookie did not settle it."""
        if not self._settings.script_cookies or found.reason is Reason.COOKIE:
            return found
        cookies = _JOINED.sub(";", environ.get("HTTP_COOKIE", ""))

        def named(name: str) -> list[str]:
            return read_cookies(cookies, name)

        kept = self._formats.read_cookies(cookies, named, self._clock.now())
        return replace(found, fallback=kept)

    def _cookies(self, environ: Environ) -> list[str]:
        # Servers join a header that came in several parts with commas, and ours has none.
        header = environ.get("HTTP_COOKIE", "").replace(",", ";")
        return read_cookies(header, self._settings.cookie_name)

    def _presented(self, environ: Environ) -> Attribution:
        """Decide among what the browser presents."""
        now = self._clock.now()
        kept = self.kept(environ, now, self._shut(now))
        if self.has_cookie(environ) and not (
            has_token(environ) and self.address(environ).handed_over
        ):
            return kept
        address = self.address(environ)
        click = address.click
        if click is None:
            return kept
        if kept.click is not None and not self._replaces(kept.click, click):
            return kept
        spent_as = None if address.carried is None else address.carried.id
        touches = earlier(click, kept)
        return Attribution(click, Reason.CARRIED, token=spent_as, touches=touches)

    def _replaces(self, kept: Click, click: Click) -> bool:
        """Say whether a click that another site hands over counts instead of the cookie's."""
        if winner(kept, click, self._settings.attribution) is kept:
            return False
        return click.at > kept.at or self._settings.attribution != "last"

    def _address(self, environ: Environ) -> Address:
        now, host = self._clock.now(), environ.get("HTTP_HOST", "").lower()
        here = token_in(came(environ)[0])
        before = query_before(environ, self._formats) if self._settings.carry != "off" else ""
        token, click, carried = self._of_page_before(before, host, now)
        opened = here and self._tokens.loads(here, now)
        if not here or not opened:
            return Address(token=token, click=click, carried=carried)
        over = opened.to == host and _was_followed(environ)
        if (over or opened.to == page_of(environ)) and opened.is_fresh(now) and _is_seen(environ):
            return Address(here, True, over, click=opened.click, carried=opened)
        if click is not None and opened.is_for(host) and _is_same(click, opened.click):
            return Address(here, True, click=opened.click, carried=opened)
        return Address(token, copied=True, click=click, carried=carried)

    def _of_page_before(
        self, query: str, host: str, now: datetime
    ) -> tuple[str | None, Click | None, Carried | None]:
        """Return the token, the click and what the token carries, of the page that led here."""
        if not query:
            return None, None, None
        token, found = token_in(query), self._formats.read(query, now)
        carried = self._tokens.loads(token, now) if token else None
        if carried is None or not carried.is_for(host):
            return None, found, None
        if found is not None and not _is_same(found, carried.click):
            return None, found, None
        return token, carried.click, carried


def page_of(environ: Environ) -> str:
    """Return what a token for one page alone is bound to."""
    return f"{environ.get('HTTP_HOST', '').lower()}{path_of(environ) or '/'}"


def path_of(environ: Environ) -> str:
    return f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"


def _was_followed(environ: Environ) -> bool:
    """A link that is opened by hand was copied: one that is followed says where from."""
    return environ.get("HTTP_SEC_FETCH_SITE") != "none"


def _is_seen(environ: Environ) -> bool:
    """Somebody looks at what this request asks for, or has sent a form."""
    return ignored_because(environ) in (None, "not_get") and is_of_a_page(environ)


def _is_same(one: Click, other: Click) -> bool:
    return (one.network, one.click_id) == (other.network, other.click_id)
