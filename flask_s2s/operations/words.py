"""The words of reports: six groups of statuses that add up to all, kinds, and what a reason says."""

from __future__ import annotations

from enum import Enum

from ..conversion import Reversal, Signup, Transaction
from ..networks.messages import (
    Accepted,
    Ambiguous,
    Duplicate,
    NotThere,
    Refused,
    RetryLater,
    Unauthorised,
)
from ..rules.delivery import Delivery
from ..rules.states import Status


class Group(str, Enum):
    """A status's meaning to a partner manager. Every status is in exactly one group."""

    CONFIRMED = "confirmed", "Confirmed"
    ACCEPTED = "delivered", "Accepted"
    OPEN = "open", "On its way"
    FAILED = "failed", "Failed"
    UNCREDITED = "none", "Not credited"
    UNSENT = "back", "Not sent"

    word: str

    def __new__(cls, code: str, word: str) -> Group:
        group = str.__new__(cls, code)
        group._value_ = code
        group.word = word
        return group

    def __str__(self) -> str:
        return str(self.value)

    @property
    def statuses(self) -> tuple[str, ...]:
        """Its statuses, as they are stored."""
        return tuple(status for status, group in GROUP_OF.items() if group is self)


#: The groups of what is credited to a partner.
CREDITED = (Group.CONFIRMED, Group.ACCEPTED, Group.OPEN, Group.FAILED)

#: The group of each status, and what it is called.
_STATUSES = {
    Status.ARMED: (Group.OPEN, "Reserved"),
    Status.PENDING: (Group.OPEN, "Waits to be sent"),
    Status.WAITING: (Group.OPEN, "Waits for another"),
    Status.SENDING: (Group.OPEN, "Being sent"),
    Status.HELD: (Group.OPEN, "Held"),
    Status.DELIVERED: (Group.ACCEPTED, "Accepted"),
    Status.CONFIRMED: (Group.CONFIRMED, "Confirmed"),
    Status.MISSING: (Group.FAILED, "Not on record"),
    Status.REFUSED: (Group.FAILED, "Refused"),
    Status.EXPIRED: (Group.FAILED, "Given up"),
    Status.UNATTRIBUTED: (Group.UNCREDITED, "Not credited"),
    Status.INVALID: (Group.UNSENT, "Invalid"),
    Status.WITHDRAWN: (Group.UNSENT, "Withdrawn"),
    Status.DRY_RUN: (Group.UNSENT, "Dry run"),
}
#: The same by what is stored.
GROUP_OF = {status.value: group for status, (group, _) in _STATUSES.items()}
STATUS_WORDS = {status.value: word for status, (_, word) in _STATUSES.items()}

#: How a try ended.
OUTCOME_WORDS = {
    Accepted.word: "Accepted",
    Duplicate.word: "Known there already",
    RetryLater.word: "Try later",
    NotThere.word: "Not there yet",
    Unauthorised.word: "Credential refused",
    Refused.word: "Refused",
    Ambiguous.word: "No clear answer",
}

#: Why a click got no row, or a conversion was lost, in a few words.
LOSS_WORDS = {
    "rate": "More a second than S2S_CLICK_RATE",
    "day": "More a day than S2S_CLICK_DAY",
    "busy": "Another transaction was open",
    "paused": "Soon after a failure",
    "failed": "The database did not take it in time",
    "away": "No database until the process ended, or too many waited",
    "refused": "The database cannot hold it",
}

#: Why a sign-up has a partner, or none, in a few words (the sentences are `Reason`'s).
REASON_WORDS = {
    "landing": "Landing",
    "cookie": "Cookie",
    "carried": "Carried without a cookie",
    "state": "Came back with a log-in",
    "identity": "Earlier form",
    "script_cookie": "The network’s own cookie",
    "explicit": "Named by the site",
    "credited": "By hand",
    "by_customer": "Through the customer",
    "parent": "The customer is not credited",
    "no_click": "No click",
    "expired": "Click too old",
    "bad_signature": "Cookie not ours",
    "token_used": "Link used before",
    "rule": "The site’s own rule",
    "review": "Waits for a decision",
    "discarded": "Discarded by hand",
    "blocked": "Partner or click blocked",
    "consent_denied": "Consent denied",
    "consent_pending": "Consent not given yet",
    "outside_request": "Outside a request",
    "bad_key": "No customer key",
    "key_reused": "The key was another customer’s",
    "unsupported": "Not a kind of the network’s",
    "bad_field": "A field not acceptable",
}


def reason_word(code: str) -> str:
    """Return a reason in a few words."""
    return REASON_WORDS.get(code, code.replace("_", " ").capitalize())


def kind_word(delivery: Delivery) -> str:
    """Return what a conversion is to a person: a negative transaction is a refund."""
    return kind_of(delivery.kind, delivery.amount)


def kind_of(kind: str, amount: int | None) -> str:
    """Return the word of a kind with an amount."""
    if kind == Signup.kind:
        return "Sign-up"
    if kind == Transaction.kind:
        return "Refund" if amount is not None and amount < 0 else "Payment"
    return "Refund" if kind == Reversal.kind else "Action"
