"""What to do with a landing: whether the request is a visitor's, and which click is kept.

Only a person's own navigation makes a click. A prefetch, a link preview or a crawler is nobody; an
`<img>` or `<iframe>` on somebody else's page that loads a partner's link is cookie stuffing. Headers
that a browser does not send are no evidence against it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from ..click import Click

#: Crawlers, link previews and mail scanners, in lower case. "bot" is matched as a word's end
#: ("Googlebot/2.1"), except CUBOT, a maker of telephones. Each alternative begins with a letter and
#: none ignores case: so the search goes from one possible beginning to the next, and does not try
#: forty words at every character, which took a fifth of a landing.
_ROBOT = (
    r"bot(?<!cubot)(?:\b|[/_;-])|crawl|spider|slurp|facebookexternalhit|facebookcatalog"
    r"|meta-external|whatsapp/|skypeuripreview|embedly|outbrain|pinterest/0|vkshare|w3c_validator"
    r"|quora link|google-(?:read-aloud|inspectiontool|safety|pagerenderer)|mediapartners-google"
    r"|feedfetcher|bingpreview|yandeximages|ia_archiver|lighthouse|gtmetrix|pingdom|uptimerobot"
    r"|statuscake|iframely|link ?preview|url ?preview|microsoft ?preview|cardyb|mastodon/"
    r"|microsoft office|ms-office|barracuda|proofpoint|mimecast"
)

#: Where browsers say that nobody looks yet: the standard, and what older ones send.
_PURPOSES = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")
_EARLY = re.compile("prefetch|prerender|preview", re.IGNORECASE)


def ignored_because(environ: Mapping[str, Any], destination: str = "document") -> str | None:
    """Return why this request must not make a click, or None when it may.

    `destination` is what the browser must say that it is for, if it says so.
    """
    if environ.get("REQUEST_METHOD") != "GET":
        return "not_get"
    if any(_EARLY.search(environ.get(header, "")) for header in _PURPOSES):
        return "prefetch"
    if environ.get("HTTP_SEC_FETCH_DEST", destination) != destination:
        return "not_navigation"
    if _robot().search(environ.get("HTTP_USER_AGENT", "")[:1024].lower()):
        return "robot"
    return None


@cache
def _robot() -> re.Pattern[str]:
    return re.compile(_ROBOT)


def winner(kept: Click | None, new: Click, policy: Literal["last", "first"]) -> Click:
    """Return the click to keep. `kept` is within its window.

    The same click ID again (a reload, the back button) is not a new click: its time stays.
    """
    if kept is None:
        return new
    if policy == "first" or (kept.network, kept.click_id) == (new.network, new.click_id):
        return kept
    return new
