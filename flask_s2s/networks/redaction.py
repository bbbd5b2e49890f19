"""Takes secrets and what we sent of a person out of a network's words, before anything else sees them.

Networks echo what they were sent: in errors, in gateways' pages, in addresses. So everything that an
attempt leaves behind (its answer, its detail, its address, a traceback) goes through `Redaction`
once, in `exchange`, and nothing is kept, logged or shown that did not.

A text is read as a reader would who undoes its quoting (percent signs, JSON, HTML, one within the
other; letters that nobody sees), and what is found there is taken out of the text as it came.
Credentials go wherever they stand, in base64 and hexadecimal too; what is of a person as whole tokens,
of four characters or more, in each spelling that means the same. What a 400 is about stays: names of
fields, types, amounts, currencies, the customer key and the click ID. Pure.
"""

from __future__ import annotations

import base64
import codecs
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

from ..click import Click
from ..conversion import Action, Conversion, Signup, Transaction

MARK = "[redacted]"
_SHORTEST = 4
#: A credential this long is no word: it goes from the middle of one too.
_UNMISTAKABLE = 8
#: How far behind what is kept is looked: a credential of a kilobyte may be quoted eight times over.
_AHEAD = 8192
#: How often one quoting may be within another.
_ROUNDS = 8
#: Controls and marks of direction and width: UTF-16 that is read as bytes is full of the first.
_UNSEEN = r"[\x00-\x08\x0e-\x1f\x7f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
_QUOTED = re.compile(
    r"%[c-dC-D][0-9a-fA-F]%[89abAB][0-9a-fA-F]|%[eE][0-9a-fA-F](?:%[89abAB][0-9a-fA-F]){2}"
    r"|%[fF][0-9a-fA-F](?:%[89abAB][0-9a-fA-F]){3}|%[0-9a-fA-F]{2}|%[uU][0-9a-fA-F]{4}"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u[0-9a-fA-F]{4}|\\u\{[0-9a-fA-F]{1,6}\}|\\x[0-9a-fA-F]{2}|(?:\\[0-3][0-7]{2})+|\\[/\"'\\bfnrt]"
    r"|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});?|&[a-zA-Z]{2,31}[0-9]?;|(?<=\s)\s+|" + _UNSEEN
)
_MAY_BE_QUOTED = re.compile(r"[%\\&]|\s\s|" + _UNSEEN)
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_OR_LATIN = "flask_s2s.or_latin"


def _latin(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_OR_LATIN, _latin)
#: What forms write for a space is one, and so is every other kind of space.
_SPACES = re.compile(r"[\s+]")
_PERSONAL = ("email", "name", "ip_address", "user_agent")
_WORDS = frozenset(
    "array boolean integer null number object string true false type types format value values field"
    " fields property properties required expected match long short pattern enum data message status"
    " error errors code xid email name meta metadata sub_ids origin customer_key provider_key"
    " ip_address user_agent external_type target_key target_type amount currency key product_key"
    " category_key created_at customer transaction action conversion".split()
)


#: How much is kept with an attempt, in characters: of an answer, and of what it means in a line.
KEPT_ANSWER, LONGEST_LINE = 2048, 255


class Redaction:
    """Removes one request's secrets and personal data from a text."""

    def __init__(self, secret: str | None = None, person: Iterable[str] = ()) -> None:
        #: What is looked for, and whether it counts within a word.
        self._needles = {} if secret is None else dict(_needles_of(secret))
        for one in person:
            for spelling in _spellings(one):
                self._needles.setdefault(_even(spelling), False)

    def __call__(self, text: str, longest: int | None = None) -> str:
        """Return the text without what is hidden, of its first `longest` characters.

        What begins there is found as a whole, however far it goes on (as far as `_AHEAD`).
        """
        end = len(text) if longest is None else longest
        text = text[: end + _AHEAD]
        kept, at = [], 0
        for start, stop in _merged(self._found(text)):
            if start >= end:
                break
            kept += [text[at:start], MARK]
            at = stop
        return "".join([*kept, text[at:end]])

    def line(self, text: str) -> str:
        """Return a network's words in one line, without escapes: logs, terminals and databases get them."""
        kept = self(text, LONGEST_LINE)
        if kept.isprintable():
            return kept
        return "".join(letter if letter.isprintable() else " " for letter in kept)

    def answer(self, body: bytes) -> str:
        """Return as much of an answer as is kept."""
        # More than that is looked through: what is to be hidden may begin at its end.
        text = text_of(body[: 4 * KEPT_ANSWER])
        # A NUL is text that PostgreSQL does not take.
        return self(text, KEPT_ANSWER).replace("\x00", "�")

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        plain: str = text
        places: list[tuple[int, int]] | None = None
        for _ in range(_ROUNDS):
            for start, stop in self._found_in(_even(plain)):
                yield (start, stop) if places is None else (places[start][0], places[stop - 1][1])
            deeper, nested = _unquoted(plain)
            if deeper == plain:
                return
            if places is not None:
                nested = [(places[start][0], places[stop - 1][1]) for start, stop in nested]
            plain, places = deeper, nested

    def _found_in(self, even: str) -> Iterator[tuple[int, int]]:
        for needle, within in self._needles.items():
            at = even.find(needle)
            while at >= 0:
                if within or _is_whole(even, at, at + len(needle)):
                    yield at, at + len(needle)
                at = even.find(needle, at + 1)


def of_request(secret: str, conversion: Conversion, click: Click | None) -> Redaction:
    """Return what is to be hidden of a request that reports `conversion`."""
    person = [text for text in _personal(conversion) if len(text) >= _SHORTEST]
    if person:
        kept = _WORDS.union(map(_even, _readable(conversion, click)))
        person = [text for text in person if _even(text) not in kept]
    return Redaction(secret, person)


def text_of(body: bytes) -> str:
    """Return an answer's text; what is no UTF-8 is read as Latin-1."""
    return body.decode("utf-8", _OR_LATIN)


def forms_of(secret: str) -> Iterator[str]:
    """Yield a credential as requests carry it: as it is, its halves, and each of them encoded."""
    halves = secret.split(":", 1) if ":" in secret else []
    for text in (secret, *(half for half in halves if len(half) >= _SHORTEST)):
        yield text
        raw = text.encode()
        if len(text) >= _SHORTEST:
            yield raw.hex()
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            for whole in (raw, raw + b":"):
                yield encode(whole).decode("ascii").rstrip("=")
            # Within a longer text: the letters that are of nothing else, wherever it begins.
            for before in range(3):
                first, last = -(-8 * before // 6), 8 * (before + len(raw)) // 6
                part = encode(bytes(before) + raw)[first:last]
                if len(part) >= _SHORTEST:
                    yield part.decode("ascii")


@lru_cache(maxsize=32)
def _needles_of(secret: str) -> Mapping[str, bool]:
    return {_even(form): len(form) >= _UNMISTAKABLE for form in forms_of(secret) if form}


def _personal(conversion: Conversion) -> Iterator[str]:
    match conversion:
        case Signup():
            for name in _PERSONAL:
                yield getattr(conversion, name) or ""
            yield from _texts(conversion.meta)
        case Transaction():
            yield from _texts(conversion.metadata)


def _spellings(text: str) -> Iterator[str]:
    """Yield what means the same, and what becomes of UTF-8 that is read as Latin-1."""
    yield from (text, " ".join(text.split()))
    if not text.isascii():
        for one in (normalize("NFC", text), normalize("NFD", text)):
            yield from (one, one.casefold())
        yield text.encode("utf-8", "replace").decode("latin-1")
    local, at, domain = text.rpartition("@")
    if at:
        for name in _names_of(domain):
            yield f"{local}@{name}"
    if ":" in text:
        yield from _addresses(text)


def _names_of(domain: str) -> Iterator[str]:
    """Yield a domain as the DNS has it, and as people read it."""
    try:
        known = domain.lower().encode("idna").decode("ascii")
        yield from (known, known.encode().decode("idna"))
    except UnicodeError:
        return


def _addresses(text: str) -> Iterator[str]:
    """Yield an IPv6 address with all its zeros, with some, and with none."""
    try:
        address = IPv6Address(text)
    except ValueError:
        return
    groups = address.exploded.split(":")
    yield from (address.exploded, ":".join(f"{int(one, 16):x}" for one in groups), str(address))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)


def _readable(conversion: Conversion, click: Click | None) -> Iterator[str]:
    """Yield the values that stay."""
    yield conversion.customer_key
    if click is not None:
        yield click.click_id
    match conversion:
        case Signup():
            yield from map(str, conversion.meta)
        case Transaction():
            yield from map(str, (conversion.amount, conversion.currency, conversion.key))
            yield from map(str, conversion.metadata)
        case Action():
            yield conversion.type


def _unquoted(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Undo one round of quoting; for each character, where it stands in `text`."""
    if not _MAY_BE_QUOTED.search(text):
        return text, []
    plain: list[str] = []
    places: list[tuple[int, int]] = []
    at = 0
    for quoted in _QUOTED.finditer(text):
        start, stop = quoted.span()
        plain.append(text[at:start])
        places += [(one, one + 1) for one in range(at, start)]
        meant = _meant(quoted[0])
        plain.append(meant)
        places += [(start, stop)] * len(meant)
        at = stop
    plain.append(text[at:])
    places += [(one, one + 1) for one in range(at, len(text))]
    return "".join(plain), places


def _meant(quoted: str) -> str:
    if len(quoted) == 1 or quoted.isspace():
        return ""
    if quoted[:2] in ("%u", "%U"):
        return chr(int(quoted[2:], 16))
    if quoted[0] == "%":
        return text_of(unquote_to_bytes(quoted))
    if quoted[0] == "&":
        return html.unescape(quoted)
    if quoted[1] in "0123":
        return text_of(bytes(int(one, 8) for one in quoted.split("\\")[1:]))
    if quoted[1:3] == "u{":
        return html.unescape(f"&#x{quoted[3:-1]};")
    if quoted[1] in "ux":
        units = [int(one, 16) for one in re.split(r"\\[ux]", quoted)[1:]]
        raw = b"".join(unit.to_bytes(2, "big") for unit in units)
        return raw.decode("utf-16-be", "replace")
    return _LETTERS.get(quoted[1], quoted[1])


def _even(text: str) -> str:
    """Return a text as it is compared, each character in its place."""
    low = text.lower()
    if len(low) != len(text):
        low = "".join(one.lower() if len(one.lower()) == 1 else one for one in text)
    return _SPACES.sub(" ", low)


def _is_whole(text: str, start: int, stop: int) -> bool:
    return not (_is_word(text[start - 1 : start]) or _is_word(text[stop : stop + 1]))


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _merged(found: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield spans in order, those that overlap as one."""
    current: tuple[int, int] | None = None
    for start, stop in sorted(found):
        if current is None:
            current = (start, stop)
        elif start <= current[1]:
            current = (current[0], max(current[1], stop))
        else:
            yield current
            current = (start, stop)
    if current is not None:
        yield current
