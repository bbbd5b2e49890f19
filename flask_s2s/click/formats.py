"""Forms of clicks, of every network: signs, parameters, cookies. Pure.

The query string is the visitor's: only its first 64 KiB are read, and a value that may have been cut
there is not used at all (a truncated click ID credits nobody).

A network's own script keeps a click in its cookies. They are nobody's signed record: any page of
the site can have written them, and they do not say when the visitor landed. So they are read like the
parameters of a landing URL, unacceptable ones are dropped, and they count where nothing better is
found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Literal, Protocol
from urllib.parse import unquote, unquote_to_bytes

from . import (
    MAX_QUERY,
    MAX_SUB_IDS,
    Click,
    is_placeholder,
    valid_click_id,
    valid_partner_key,
    valid_sub_id,
)

Unread = Literal["placeholder", "unreadable"]
#: Given a cookie's name, all its values: a browser may send two of one name.
Cookies = Callable[[str], Sequence[str]]
#: The sign of our own click token (`s2s_xid`).
TOKEN_SIGN = "xid"  # noqa: S105 - the name of a parameter


class ClickFormat(Protocol):
    """How one network's clicks are known."""

    @property
    def signs(self) -> Sequence[str]:
        """Texts in small letters: no query string without one of them has such a click."""
        ...

    def read(self, query: str, now: datetime) -> Click | None:
        """Read the click in a query string (as WSGI gives it), or None where there is none."""
        ...

    def is_click_id(self, name: str) -> bool:
        """Say whether a query parameter of this name, in small letters, is a click's ID."""
        ...

    def is_parameter(self, name: str) -> bool:
        """Say whether a query parameter of this name is a part of a click."""
        ...

    def is_sub_id(self, name: str) -> bool:
        """Say whether it is one of those that may be left behind where an address gets too long."""
        ...

    def placeholder(self, value: str) -> bool:
        """Say whether a value stands for a click ID that was never put in."""
        ...

    def read_cookies(self, header: str, cookies: Cookies, now: datetime) -> Click | None:
        """Read the click that the network's own script has kept; `now` stands for the landing's time."""
        ...


class Parameters:
    """The ordinary form: a click ID under a name of its own, and other values as they are.

    Names are as links have them; each list is in the order of trying.
    """

    def __init__(
        self,
        network: str,
        click_id: Sequence[str],
        *,
        partner_key: Sequence[str] = (),
        sub_ids: Sequence[str] = (),
        cookies: Sequence[str] = (),
    ) -> None:
        self._network = network
        self._click_id = tuple(click_id)
        self._ids = frozenset(name.lower() for name in click_id)
        self._partner_key = tuple(partner_key)
        self._sub_ids = tuple(sub_ids)
        self._cookies = tuple(cookies)
        self.signs = tuple(sorted(self._ids))

    def read(self, query: str, now: datetime) -> Click | None:
        found: dict[str, list[str]] = {}
        for name, text in pairs(query):
            if text:
                found.setdefault(name, []).append(text)
        return self._click(lambda name: found.get(name, ()), self._click_id, now)

    def is_click_id(self, name: str) -> bool:
        return name in self._ids

    def is_parameter(self, name: str) -> bool:
        return name in (*self._click_id, *self._partner_key, *self._sub_ids)

    def is_sub_id(self, name: str) -> bool:
        return name in self._sub_ids

    def placeholder(self, value: str) -> bool:
        return is_placeholder(value)

    def read_cookies(self, header: str, cookies: Cookies, now: datetime) -> Click | None:
        if not any(f"{name}=" in header for name in self._cookies):
            return None
        return self._click(cookies, self._cookies, now)

    def _click(self, values: Cookies, ids: Sequence[str], now: datetime) -> Click | None:
        """The first valid value of each counts; one that is not acceptable is dropped."""
        click_id = _first(values, ids, valid_click_id)
        if click_id is None:
            return None
        subs = [one for name in self._sub_ids for one in values(name) if valid_sub_id(one)]
        return Click(
            network=self._network,
            click_id=click_id,
            partner_key=_first(values, self._partner_key, valid_partner_key),
            sub_ids=tuple(subs[:MAX_SUB_IDS]),
            at=now,
        )


class Clicks:
    """The clicks of all networks that one app belongs to."""

    def __init__(self, formats: Iterable[ClickFormat]) -> None:
        self._formats = tuple(formats)
        every = {TOKEN_SIGN, *(sign for one in self._formats for sign in one.signs)}
        signs = {sign for sign in every if not any(o in sign for o in every if o != sign)}
        #: No address without it has a click or a token, where all networks share one: the search
        #: that every request pays for. Empty, which is in every text, where they do not.
        self.sign = signs.pop() if len(signs) == 1 else ""
        self._search = re.compile("|".join(map(re.escape, sorted(signs))), re.IGNORECASE).search

    def may_be_in(self, address: str) -> bool:
        """Say quickly whether an address is worth reading; some links come in capitals."""
        if self.sign:
            return self.sign in address.lower()
        return self._search(address) is not None

    def read(self, query: str, now: datetime) -> Click | None:
        """Read the click in a query string (as WSGI gives it), or None where there is none."""
        for one in self._formats:
            if (click := one.read(query, now)) is not None:
                return click
        return None

    def read_cookies(self, header: str, cookies: Cookies, now: datetime) -> Click | None:
        """Read the click that a network's own script has kept."""
        found = (one.read_cookies(header, cookies, now) for one in self._formats)
        return next((click for click in found if click is not None), None)

    def unread_because(self, query: str) -> Unread | None:
        """Return why the click ID that a query string names is none; None where it names none."""
        named = [
            (one, value)
            for name, value in pairs(query)
            for one in self._formats
            if value is not None and one.is_click_id(name.lower())
        ]
        if not named:
            return None
        # One may be percent-encoded once more.
        placeholder = any(one.placeholder(v) or one.placeholder(unquote(v)) for one, v in named)
        return "placeholder" if placeholder else "unreadable"

    def is_click_id(self, name: str) -> bool:
        """Say whether a query parameter of this name, in small letters, is a click's ID."""
        return any(one.is_click_id(name) for one in self._formats)

    def is_parameter(self, name: str) -> bool:
        """Say whether a query parameter of this name is a part of a click."""
        return any(one.is_parameter(name) for one in self._formats)

    def is_sub_id(self, name: str) -> bool:
        """Say whether a parameter may be left behind where an address gets too long."""
        return any(one.is_sub_id(name) for one in self._formats)


def _first(values: Cookies, names: Sequence[str], valid: Callable[[str], bool]) -> str | None:
    return next((one for name in names for one in values(name) if valid(one)), None)


def pieces(query: str) -> list[str]:
    """Return the parts of a query string that are read; one that may have been cut is left out."""
    found = query[:MAX_QUERY].split("&")
    if len(query) > MAX_QUERY:
        found.pop()
    return found


def pairs(query: str) -> list[tuple[str, str | None]]:
    """Return the names in a query string, and their values; None is one whose bytes are not UTF-8."""
    found = (piece.partition("=") for piece in pieces(query))
    named = [(name, value) for name, equals, value in found if equals]
    return [((_text(n) or "") if "%" in n else n, _text(value)) for n, value in named]


def _text(raw: str) -> str | None:
    spaced = raw.replace("+", " ")
    if "%" not in spaced and spaced.isascii():
        return spaced
    try:
        return unquote_to_bytes(spaced.encode("latin-1")).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return None
