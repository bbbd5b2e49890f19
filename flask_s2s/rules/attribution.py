"""Attribution: the click that a conversion belongs to, and why; or why there is none. Pure.

Every sign-up ends with exactly one `Reason`: the answer to "why was this not credited?".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from ..click import MAX_TOUCHES, Click, Kept, Unreadable


class Reason(str, Enum):
    """The reason why a conversion has its click, or none."""

    LANDING = "landing", "The click was in the URL of this very request."
    COOKIE = "cookie", "The click was in the visitor's signed cookie."
    CARRIED = (
        "carried",
        "The click was in the address of the page before, because no cookie came back.",
    )
    STATE = (
        "state",
        "The click was in the signed state that came back with a log-in or a payment.",
    )
    IDENTITY = (
        "identity",
        "The click was bound to this customer's e-mail address or user ID by an earlier form.",
    )
    SCRIPT_COOKIE = "script_cookie", "The click was in a cookie of the network's own script."
    EXPLICIT = "explicit", "The caller named the click."
    CREDITED = "credited", "Credited by hand."
    BY_CUSTOMER = "by_customer", "Credited through the customer, whose sign-up has the click."
    PARENT = "parent", "The customer is not credited, so nothing that they do is."
    NO_CLICK = (
        "no_click",
        "The visitor brought no click: no partner's link, or the cookie was lost.",
    )
    EXPIRED = "expired", "The visitor's click is older than the attribution window."
    BAD_SIGNATURE = "bad_signature", "The cookie was not signed with a key of this site."
    TOKEN_USED = (
        "token_used",
        "The click token was used by another customer already.",
    )
    RULE = "rule", "The site's own rule (S2S_RULE) said that nobody is credited."
    REVIEW = "review", "The site's own rule failed, so somebody has to decide (S2S_RULE_ERROR)."
    DISCARDED = "discarded", "Discarded by hand."
    BLOCKED = "blocked", "The click, or its partner, is blocked."
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
    KEY_REUSED = (
        "key_reused",
        "The customer key was somebody else's before, who has signed up under it.",
    )
    UNSUPPORTED = "unsupported", "The network takes no conversion of this kind."
    BAD_FIELD = "bad_field", "A field of the conversion was not acceptable."

    sentence: str

    def __new__(cls, code: str, sentence: str) -> Reason:
        reason = str.__new__(cls, code)
        reason._value_ = code
        reason.sentence = sentence
        return reason

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The third argument of a site's own rule (`S2S_RULE`), beside a conversion and its click."""

    #: Why the conversion would have this click, such as `cookie` or `identity`.
    reason: str
    #: The click comes from an address or ID that the visitor only typed.
    unproved: bool
    #: The other clicks that the visitor came by, newest first.
    touches: tuple[Click, ...]
    #: From the click to the conversion. A few seconds: the click was put in before an honest one.
    seconds: float


@dataclass(frozen=True, slots=True)
class Attribution:
    """The decision: a click and how it was found, or None and why there is none."""

    click: Click | None
    reason: Reason
    #: What the reason leaves open, in the site's own words.
    detail: str | None = None
    #: Under what the token that carried the click is spent: it serves one customer.
    token: str | None = None
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
        newest = kept[0] if len(kept) == 1 else max(kept, key=lambda record: record.click.at)
        return Attribution(newest.click, Reason.COOKIE, touches=newest.touches)
    unreadable = [record for record in records if isinstance(record, Unreadable)]
    late = [record.click for record in unreadable if record.click is not None]
    if late:
        return Attribution(None, Reason.EXPIRED, touches=tuple(late[:MAX_TOUCHES]))
    return Attribution(None, Reason.BAD_SIGNATURE if unreadable else Reason.NO_CLICK)


def winner(kept: Click | None, new: Click, policy: Literal["last", "first"]) -> Click:
    """Return the click to keep. `kept` is within its window.

    The same click ID again (a reload, the back button) is not a new click: its time stays.
    """
    if kept is None:
        return new
    if policy == "first" or (kept.network, kept.click_id) == (new.network, new.click_id):
        return kept
    return new


def earlier(click: Click, kept: Attribution) -> tuple[Click, ...]:
    """Return what a visitor with `kept` came by before `click`, newest first."""
    if kept.click is None:
        return ()
    same = (click.network, click.click_id)
    touches = [one for one in (kept.click, *kept.touches) if (one.network, one.click_id) != same]
    return tuple(touches[:MAX_TOUCHES])


#: The detail of a sign-up that is credited by what nobody proved.
UNPROVED = "unproved"


def sentence(code: str) -> str:
    """Return what a stored reason code says, for people."""
    return next((reason.sentence for reason in Reason if reason.value == code), code)
