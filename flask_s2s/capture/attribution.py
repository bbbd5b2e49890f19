"""Which click a conversion belongs to, and why, or why none.

Every sign-up ends with exactly one `Reason`: the answer to "why was this not credited?".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ..click import Click
from .record import MAX_TOUCHES, Kept, Unreadable


class Reason(str, Enum):
    """Why a conversion has the click it has, or none."""

    LANDING = "landing", "The click was in the URL of this very request."
    COOKIE = "cookie", "The click was in the visitor's signed cookie."
    CARRIED = (
        "carried",
        "The click was carried in the site's own links or forms, because the cookie did not come back.",
    )
    IDENTITY = (
        "identity",
        "The click was bound to this customer's e-mail address or user ID by an earlier form.",
    )
    SCRIPT_COOKIE = "script_cookie", "The click was in a cookie of the network's own script."
    EXPLICIT = "explicit", "The caller named the click."
    CREDITED = "credited", "Credited by hand with `flask s2s credit`."
    BY_CUSTOMER = "by_customer", "Credited through the customer, whose sign-up has the click."
    PARENT = "parent", "The customer's sign-up has no click, so nothing of it is credited."
    NO_CLICK = (
        "no_click",
        "The visitor brought no click: no partner's link, or the cookie was lost.",
    )
    EXPIRED = "expired", "The visitor's click is older than the attribution window."
    FUTURE = "future", "The visitor's click is dated in the future: a clock is or was wrong."
    BAD_SIGNATURE = "bad_signature", "The cookie was not signed with a key of this site."
    HANDLE_USED = (
        "handle_used",
        "The click was carried by a link that another customer has used already.",
    )
    RULE = "rule", "The site's own rule (S2S_RULE) said that nobody is credited."
    CONSENT_DENIED = "consent_denied", "The visitor has denied or withdrawn consent."
    CONSENT_PENDING = (
        "consent_pending",
        "The visitor had not answered yet whether clicks may be kept.",
    )
    OUTSIDE_REQUEST = (
        "outside_request",
        "Recorded outside a request, so no visitor brought a click.",
    )
    BAD_KEY = "bad_key", "The customer key was missing when the conversion was recorded."
    BAD_FIELD = "bad_field", "A field of the conversion was not acceptable."

    sentence: str

    def __new__(cls, code: str, sentence: str) -> Reason:
        reason = str.__new__(cls, code)
        reason._value_ = code
        reason.sentence = sentence
        return reason

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Attribution:
    """The decision: a click and how it was found, or None and why there is none."""

    click: Click | None
    reason: Reason
    #: What the reason leaves open, in the site's own words.
    detail: str | None = None
    #: The hash of the handle that carried the click: it serves one customer.
    handle: str | None = None
    #: The click of the network's own script, for where nothing better is found.
    fallback: Click | None = None
    #: The other clicks that the visitor came by, newest first.
    touches: tuple[Click, ...] = ()

    @property
    def best(self) -> Click | None:
        """The click as far as a request can tell by itself: the fallback where there is no other."""
        return self.click or self.fallback


def newest_click(records: Sequence[Kept | Unreadable]) -> Attribution:
    """Decide among everything that the visitor's cookies gave."""
    kept = [record for record in records if isinstance(record, Kept)]
    if kept:
        newest = max(kept, key=lambda record: record.click.at)
        return Attribution(newest.click, Reason.COOKIE, touches=newest.touches)
    reasons = {record.reason for record in records if isinstance(record, Unreadable)}
    for reason in (Reason.EXPIRED, Reason.FUTURE, Reason.BAD_SIGNATURE):
        if reason.value in reasons:
            return Attribution(None, reason)
    return Attribution(None, Reason.NO_CLICK)


def earlier(click: Click, kept: Attribution) -> tuple[Click, ...]:
    """Return what a visitor with `kept` came by before `click`, newest first."""
    if kept.click is None:
        return ()
    same = (click.network, click.click_id)
    touches = [one for one in (kept.click, *kept.touches) if (one.network, one.click_id) != same]
    return tuple(touches[:MAX_TOUCHES])


def sentence(code: str) -> str:
    """Return what a stored reason code says, for people."""
    return next((reason.sentence for reason in Reason if reason.value == code), code)
