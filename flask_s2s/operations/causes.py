"""The cause that a delivery's last word names: its words for people, a stable code, and its meaning.

The last word is prose: ours, or the network's own. A file for a spreadsheet, and whoever counts, need a
code that stays; whoever reads it needs to know what it means, and whether a person must do something.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum

from ..rules.states import Status
from ..store.outbox.ledger import Worded
from ..store.queries import Wanted
from .words import REASON_WORDS, STATUS_WORDS


class Why(str, Enum):
    """A cause: its code is stable, its meaning is one sentence or two."""

    INVALID = (
        "invalid_field",
        "A field cannot be sent as it is. Nothing went out, and nothing will.",
    )
    MISSING = "not_on_record", "The network accepted it, and its own record does not have it."
    DEADLINE = "deadline", "It was tried until its deadline, and no answer was a final one."
    WAITS = "waits", "It goes out by itself once what it belongs to is there."
    PARENT = "parent", "What it belongs to did not get through, so it cannot either."
    ANOTHERS = (
        "key_reused",
        "Its key belongs to another customer, or to something else: a key is of one thing, over all customers.",
    )
    CREDENTIAL = (
        "credential",
        "The network does not take our credential. All of its lane waits for a new one.",
    )
    SLOW_DOWN = "slow_down", "The network asked for a pause. It goes out by itself afterwards."
    NO_CONNECTION = (
        "no_connection",
        "Nothing was sent: the network was not reached. It is tried again.",
    )
    UNCLEAR = (
        "unclear",
        "The network may have it: no answer came that says. It is asked, or told again.",
    )
    NOT_FOUND = (
        "not_found",
        "404: the network’s address is wrong, or the click ID is not the network’s.",
    )
    UNEXPECTED = "unexpected", "An answer that is not one of the network’s. It is tried again."
    REFUSED = "refused", "The network said no, in these words. As it is, it would say so again."

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Why:
        why = str.__new__(cls, code)
        why._value_ = code
        why.meaning = meaning
        return why

    def __str__(self) -> str:
        return str(self.value)


CAUSES = {one.value: one for one in Why}
#: Whole words of ours: a network's own may have parts of them.
_KINDS = ("signup", "action", "transaction", "reversal")
_TAKEN = tuple(f"is that of another {kind} (delivery " for kind in _KINDS)
_ANOTHERS = (") is another customer", "of another person", *_TAKEN)
_PARENTS = tuple(f"its {kind} (delivery " for kind in _KINDS)
#: What each status says with what stands in its last word: the first that is so. None: whatever the word.
_TOLD: dict[str, tuple[tuple[Why, tuple[str, ...] | None], ...]] = {
    Status.REFUSED.value: (
        (Why.ANOTHERS, _ANOTHERS),
        (Why.PARENT, _PARENTS),
        (Why.REFUSED, None),
    ),
    Status.INVALID.value: ((Why.ANOTHERS, _ANOTHERS), (Why.INVALID, None)),
    Status.PENDING.value: (
        (Why.ANOTHERS, _ANOTHERS),
        (Why.PARENT, _PARENTS),
        (Why.SLOW_DOWN, ("asked to slow down",)),
        (Why.UNCLEAR, ("taken or not", "may have it", "the connection broke", "no answer")),
        (Why.NOT_FOUND, ("unexpected answer 404",)),
        (Why.UNEXPECTED, ("unexpected answer",)),
        (Why.NO_CONNECTION, ("could not connect", "cannot be sent", "TLS failed", "the proxy")),
    ),
    Status.MISSING.value: ((Why.MISSING, None),),
    Status.EXPIRED.value: ((Why.DEADLINE, None),),
    Status.HELD.value: ((Why.CREDENTIAL, None),),
    Status.WAITING.value: ((Why.WAITS, None),),
}


def why(status: str, detail: str | None) -> Why | None:
    """Return the cause of what failed or waits; None: nothing is wrong, or nobody said."""
    for cause, words in _TOLD.get(status, ()):
        if words is None or any(word in (detail or "") for word in words):
            return cause
    return None


def narrowed(wanted: Wanted, cause: Why) -> Wanted:
    """Return the filter of those that have a cause."""
    worded = []
    for status, told in _TOLD.items():
        lacks: tuple[str, ...] = ()
        for one, words in told:
            if one is cause:
                worded.append(Worded(status=status, has=words, lacks=lacks))
            lacks += words or ()
    statuses = wanted.statuses or tuple(one.status for one in worded)
    return replace(wanted, statuses=statuses, worded=tuple(worded))


def worded(code: str) -> tuple[Worded, ...]:
    """Return what the last words of those with a cause have, by its code."""
    return narrowed(Wanted(), CAUSES[code]).worded


#: Causes whose words name another delivery: such words are told together, each is of one delivery alone.
ALIKE = {one.value: worded(one.value) for one in (Why.WAITS, Why.ANOTHERS, Why.PARENT)}
_STATUS = "|".join(STATUS_WORDS)
_REASON = "|".join(REASON_WORDS)
_CODE = re.compile(
    rf"(?<=\): )({_STATUS})$|(?<=\) is )({_STATUS})(?=: |$)|(?<=unattributed: )({_REASON})$"
)


def said(text: str) -> str:
    """Return a last word without the codes that stand in it."""
    words = re.sub(r"^taken or not: ", "nobody knows whether it was taken: ", text)
    words = words.replace(": taken or not", "; nobody knows yet whether it was taken")
    return _CODE.sub(_word, words)


def _word(found: re.Match[str]) -> str:
    word = REASON_WORDS[found[3]] if found[3] else STATUS_WORDS[found[1] or found[2]]
    return word[:1].lower() + word[1:]
