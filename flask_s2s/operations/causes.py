"""The cause that a delivery's last word names: its words for people, a stable code, and its meaning.

The last word is prose: ours, or the network's own. A file for a spreadsheet, and whoever counts, need a
code that stays; whoever reads it needs to know what it means, and whether a person must do something.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum

from ..rules.states import Status
from ..store.queries import Queries, Wanted
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
        "Its key belongs to another customer: keys are unique over all customers.",
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
#: What a status alone says, whatever the word.
_BY_STATUS = {
    Status.INVALID.value: Why.INVALID,
    Status.MISSING.value: Why.MISSING,
    Status.EXPIRED.value: Why.DEADLINE,
    Status.HELD.value: Why.CREDENTIAL,
    Status.WAITING.value: Why.WAITS,
}
#: Statuses whose cause is in the word.
_WORDED = (Status.REFUSED.value, Status.PENDING.value, Status.INVALID.value)
#: What a word of our own says, by its first match.
_BY_WORD = (
    (r"\(delivery \d+\)", Why.PARENT),
    (r"asked to slow down", Why.SLOW_DOWN),
    (r"taken or not|may have it|the connection broke|^no answer\b", Why.UNCLEAR),
    (r"^unexpected answer 404", Why.NOT_FOUND),
    (r"^unexpected answer", Why.UNEXPECTED),
    (r"^(could not connect|cannot be sent|TLS failed|the proxy)", Why.NO_CONNECTION),
)
_ANOTHERS = re.compile(r"\(delivery \d+\) is another customer|of another person$")


def why(status: str, detail: str | None) -> Why | None:
    """Return the cause of what failed or waits; None: nothing is wrong, or nobody said."""
    known, refused = _BY_STATUS.get(status), status == Status.REFUSED.value
    if (refused or known is Why.INVALID) and _ANOTHERS.search(detail or ""):
        return Why.ANOTHERS
    if known is not None or detail is None:
        return known
    if not refused and status != Status.PENDING.value:
        return None
    for word, cause in _BY_WORD:
        if re.search(word, detail):
            return cause
    return Why.REFUSED if refused else None


def narrowed(queries: Queries, wanted: Wanted, cause: Why) -> Wanted:
    """Return the filter of those that have a cause: it is read out of the last words that there are."""
    alone = tuple(one for one, known in _BY_STATUS.items() if known is cause is not Why.INVALID)
    statuses = tuple(one for one in alone or _WORDED if one in (wanted.statuses or (one,)))
    if alone or not statuses:
        return replace(wanted, statuses=statuses, words=tuple((one, None) for one in statuses))
    meant: dict[str, list[str | None]] = {}
    for group in queries.grouped(replace(wanted, statuses=statuses), "error"):
        if why(group.status, group.name) is cause:
            meant.setdefault(group.status, []).append(group.name)
    words = tuple((status, tuple(said)) for status, said in meant.items())
    return replace(wanted, statuses=tuple(meant), words=words)


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
