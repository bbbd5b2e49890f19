"""Whether a 2xx is a success: an empty body, or JSON that does not say no. Pure.

Gateways, maintenance pages and some APIs answer every request with 200 and tell the truth in the
body. So a success is nothing at all, or an object (or a list of them) in which no flag is down, no
error is told and no status is one of failure. `null`, `false`, a number or a bare text is none.

Only the names that such answers use are read, at the top and in the usual wrappings: what is
deeper may be what we sent, under names that the site has chosen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .messages import Accepted, Ambiguous, Outcome, Response

#: Flags: what is not true under such a name is a no.
_FLAGS = frozenset(
    "success successful succeeded issuccess issuccessful wassuccessful ok isok accepted".split()
)
#: What is something under such a name is a no; and so it is under every name with "error" in it.
_FAULTS = frozenset(
    "err errs errmsg errcode fault faults exception exceptions fail failed fails failure failures"
    " isfailed hasfailed rejected rejections denied unauthorized".split()
)
#: Numbers here are HTTP's, texts are words.
_STATUSES = frozenset(
    "status statuscode statustext statusmessage httpstatus httpstatuscode httpcode responsecode"
    " responsestatus result outcome state".split()
)
#: Numbers here may be anything, so only those of HTTP are read.
_CODES = frozenset(("code", "resultcode", "returncode"))
#: Words for people: read where nothing else says how it went.
_MESSAGES = frozenset("message msg detail details title reason statusdescription".split())
#: What answers are wrapped in.
_WRAPPINGS = frozenset("data response result results body payload answer output".split())
_DEEPEST = 3
#: What is said of a success: its answer stands with the attempt.
_TAKEN = "taken by the network"

_FAILURE = (
    r"err|errors?|errored|fail|fails|failed|failing|failures?|faults?|exceptions?|unsuccessful"
    r"|rejected|refused|declined|denied|forbidden|unauthori[sz]ed|unauthenticated|invalid|illegal"
    r"|malformed|unavailable|unable|cannot|maintenance|outage|time-?out|timed out|aborted|blocked"
    r"|throttled|overloaded|unprocessable|unprocessed|went wrong|try again|bad (?:request|gateway)"
    r"|not (?:found|authenticated|authori[sz]ed|allowed|accepted|valid|recorded|processed|permitted"
    r"|available|acceptable|implemented|supported)"
)
#: A message is prose, so its words are stronger ones than those that a status is made of.
_MESSAGE_OF_FAILURE = re.compile(rf"(?<![a-z])(?:{_FAILURE})(?![a-z])")
_STATUS_OF_FAILURE = re.compile(
    rf"(?<![a-z])(?:{_FAILURE}|bad|missing|unknown|not|no|ko|nok|nack|none|false|expired|suspended"
    r"|disabled|limited|exceeded|down|wrong|problem|issue)(?![a-z])"
)
#: What has such words in it and is no no.
_NOT_A_NO = re.compile(
    r"(?<![a-z])(?:(?:no|without(?: any)?|zero|0) (?:err|error|fail|failure|fault|issue|problem)s?"
    r"|no content|not modified)(?![a-z])"
)
_YES = frozenset(
    "ok okay success successful succeeded accepted created queued received recorded done true yes"
    " processed complete completed".split()
)
_NOTHING = frozenset(("", "0", "none", "null", "false", "no", "n", "[]", "{}", "undefined"))


def read_success(response: Response) -> Outcome:
    """Say what a 2xx means. Never raises."""
    body = response.body.strip()
    if not body:
        return Accepted(detail=_TAKEN)
    if encoding := response.headers.get("content-encoding", "").strip().lower():
        if encoding != "identity":
            return _unread("something compressed, though nobody asked for it")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return _unread("something that is not JSON")
    denied = _denied(answer)
    if denied is not None:
        said = f"{response.status} whose body says no ({denied})"
        return Ambiguous(detail=f"{said}: taken or not", alarm=True)
    return Accepted(detail=_TAKEN)


def _unread(what: str) -> Ambiguous:
    return Ambiguous(detail=f"success answered with {what}: taken or not", alarm=True)


def _denied(answer: Any) -> str | None:
    """Return which part of an answer says no."""
    if isinstance(answer, str):
        return None if answer.strip().lower().rstrip(".!") in _YES else "a bare text"
    if answer is True:
        return None
    if isinstance(answer, list):
        return next((no for one in answer if (no := _denied(one)) is not None), None)
    if not isinstance(answer, Mapping):
        return json.dumps(answer)[:20]
    return _denied_in(answer, 0)


def _denied_in(answer: Mapping[str, Any], depth: int) -> str | None:
    """Read an object by its names, without case and what joins words: `errorCode`, `error_code`."""
    named = {_plain(name): (name, value) for name, value in answer.items()}
    for plain, (name, value) in named.items():
        if _says_no(plain, value, depth):
            return name[:40]
        if plain in _WRAPPINGS and depth < _DEEPEST:
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, Mapping) and (inner := _denied_in(one, depth + 1)):
                    return inner
    if depth == 0 and not any(_says_yes(plain, value) for plain, (_, value) in named.items()):
        for plain, (name, value) in named.items():
            if plain in _MESSAGES and isinstance(value, str) and _is_no(value, _MESSAGE_OF_FAILURE):
                return name[:40]
    return None


def _says_no(plain: str, value: Any, depth: int) -> bool:
    if plain in _FLAGS:
        return value is None or _is_nothing(value)
    if plain in _FAULTS or ("error" in plain and not plain.startswith(("no", "without"))):
        return not _is_nothing(value) and not (isinstance(value, str) and _is_yes(value))
    if depth and plain in _STATUSES:
        # Within what is wrapped it may be the record's own: whose lead was declined was taken.
        return isinstance(value, str) and value.strip().lower() in ("error", "fail", "failed")
    if plain in _STATUSES:
        return _is_bad_status(value)
    if plain in _CODES:
        code = _number(value)
        return code is not None and (code < 0 or 300 <= code < 600)
    return False


def _says_yes(plain: str, value: Any) -> bool:
    if plain in _FLAGS:
        return value is not None and not _is_nothing(value)
    return plain in _STATUSES and (value is True or value is not None) and not _is_bad_status(value)


def _is_bad_status(value: Any) -> bool:
    if isinstance(value, bool):
        return not value
    number = _number(value)
    if number is not None:
        return not 200 <= number < 300
    return isinstance(value, str) and _is_no(value, _STATUS_OF_FAILURE)


def _number(value: Any) -> float | None:
    """Return a number, also one that is written as text."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(max(-1, min(value, 10**9))) if value == value else None


def _is_nothing(value: Any) -> bool:
    if isinstance(value, str):
        text = value.strip().lower()
        return text in _NOTHING or not text.strip("0.")
    return not value


def _is_yes(text: str) -> bool:
    plain = text.strip().lower().rstrip(".!")
    return plain in _YES or bool(_NOT_A_NO.fullmatch(plain))


def _is_no(text: str, failure: re.Pattern[str]) -> bool:
    """Say whether a text has a word of failure in it, `camelCase` and `snake_case` included."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text[:500]).replace("_", " ").lower()
    return bool(failure.search(_NOT_A_NO.sub(" ", words)))


def _plain(name: str) -> str:
    return name[:40].replace("_", "").replace("-", "").replace(" ", "").lower()
