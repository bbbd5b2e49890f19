"""Putting a handle into a page: into its links and forms, as the page streams by.

Only pages of a visitor whose cookie has not been seen to come back are read, after every cache of
the app's own: so a cached page has no handle in it, and everybody else's pages pass untouched.

The page is read tag by tag, as browsers read it: comments, scripts, styles and text areas are not
looked into, and what cannot be read is passed on as it came. Links to other hosts, to files, within
the page and downloads stay as they are. A form that posts carries the handle in its address, where
any WSGI app finds it; one that gets, in a hidden field. With `everywhere` false only the places are
filled that a template left for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from html import escape, unescape
from urllib.parse import urlsplit

from .handle import PARAMETER

#: The field that a template leaves; the same for everybody, so a page with it may be cached.
FIELD = f'<input type="hidden" name="{PARAMETER}" value="">'

#: Where a comment or a tag begins.
_BEGIN = re.compile(rb"<(?:[A-Za-z]|!--)")
#: A tag begins but may not be all there: this much is kept for the next piece.
_CUT = re.compile(rb"<(?:!-?)?\Z")
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9:-]*")
_TAG = re.compile(rb"""<([A-Za-z][A-Za-z0-9:-]*)[^>"']*(?:(?:"[^"]*"|'[^']*')[^>"']*)*>""")
_ATTRIBUTE = re.compile(rb"""([^\s=>/"']+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+)))?""")
#: Elements whose text is no markup.
_RAW = frozenset({b"script", b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed"})
_LINKING = {b"a": b"href", b"area": b"href", b"form": b"action"}
_BUTTONS = frozenset({b"input", b"button"})
#: A tag longer than this is none: the rest of the page is passed on unread.
_LONGEST_TAG = 65536
_WEB = ("", "http", "https")
#: What the last part of a path may end in and still be a page.
_PAGES = frozenset({"htm", "html", "xhtml", "php", "asp", "aspx", "jsp", "cgi"})


class Filler:
    """Fills one page. `feed` it piece by piece, then call `end`."""

    def __init__(
        self,
        handle: Callable[[], str],
        *,
        host: str,
        query: str,
        everywhere: bool,
        static: str | None = None,
    ) -> None:
        """`handle` is asked once, for the first place that needs it.

        `host` and `query` are the page's own; `static` is where the site's files are.
        """
        self._make = handle
        self._host = host.lower()
        self._query = query
        self._everywhere = everywhere
        self._static = static.rstrip("/") + "/" if static else None
        self._rest = b""
        #: The end that the text is searched for: of a comment or of an element without markup.
        self._until: bytes | None = None
        self._unread = False

    def feed(self, piece: bytes) -> bytes:
        """Return as much of the page as is known to be filled."""
        if self._unread:
            return piece
        text, done, at = self._rest + piece, [], 0
        while True:
            if self._until is not None:
                found = _find(text, self._until, at)
                if found < 0:
                    keep = max(at, len(text) - len(self._until))
                    done.append(text[at:keep])
                    at = keep
                    break
                done.append(text[at:found])
                at, self._until = found, None
            begin = _BEGIN.search(text, at)
            if begin is None:
                cut = _CUT.search(text, at)
                keep = len(text) if cut is None else cut.start()
                done.append(text[at:keep])
                at = keep
                break
            start = begin.start()
            done.append(text[at:start])
            read = self._read_tag(text, start)
            if read is None:
                at = start
                break
            filled, at = read
            done.append(filled)
        self._rest = text[at:]
        if len(self._rest) > _LONGEST_TAG:
            done.append(self._rest)
            self._rest, self._unread = b"", True
        return b"".join(done)

    def end(self) -> bytes:
        """Return what is left."""
        rest, self._rest = self._rest, b""
        return rest

    def _read_tag(self, text: bytes, start: int) -> tuple[bytes, int] | None:
        """Return what to write for the tag at `start` and where it ends; None: not all there yet."""
        if text.startswith(b"<!--", start):
            self._until = b"-->"
            return b"<!--", start + 4
        tag = _TAG.match(text, start)
        if tag is None:
            return None
        name = tag[1].lower()
        if name in _RAW:
            self._until = b"</" + name
        return self._fill(name, tag[0]), tag.end()

    def has_places(self, page: bytes) -> bool:
        """Say whether a whole page may have anything to fill."""
        return self._everywhere or PARAMETER.encode() in page

    @cached_property
    def _handle(self) -> bytes:
        return self._make().encode()

    def _fill(self, name: bytes, tag: bytes) -> bytes:
        if name == b"form":
            return self._fill_form(tag)
        if name in _LINKING:
            return self._fill_attribute(tag, _LINKING[name])
        if name in _BUTTONS:
            if name == b"input" and _attributes(tag).get(b"name") == PARAMETER.encode():
                return FIELD.encode().replace(b'value=""', b'value="' + self._handle + b'"')
            return self._fill_attribute(tag, b"formaction")
        return tag

    def _fill_attribute(self, tag: bytes, attribute: bytes) -> bytes:
        attributes = _attributes(tag)
        address = attributes.get(attribute)
        if address is None or b"download" in attributes:
            return tag
        carrying = self.carrying(unescape(address.decode("utf-8", "surrogateescape")))
        if carrying is None:
            return tag
        return _with_value(tag, attribute, carrying)

    def _fill_form(self, tag: bytes) -> bytes:
        attributes = _attributes(tag)
        method = attributes.get(b"method", b"get").strip().lower()
        action = attributes.get(b"action", b"").decode("utf-8", "surrogateescape")
        if method == b"post":
            if action.strip():
                return self._fill_attribute(tag, b"action")
            if not self._everywhere:
                return tag
            kept = [part for part in self._query.split("&") if part and not _is_handle(part)]
            address = "?" + "&".join([*kept, f"{PARAMETER}={self._handle.decode()}"])
            return _with_value(tag, b"action", address)
        ours = not action.strip() or self.leads_to_a_page(unescape(action))
        if not self._everywhere or method == b"dialog" or not ours:
            return tag
        return tag + FIELD.encode().replace(b'value=""', b'value="' + self._handle + b'"')

    def carrying(self, address: str) -> str | None:
        """Return `address` with the handle, or None where it must not have one."""
        front, hash_, fragment = address.partition("#")
        base, mark, query = front.partition("?")
        parts = query.split("&") if mark else []
        places = [i for i, part in enumerate(parts) if _is_handle(part)]
        if any(parts[i] != f"{PARAMETER}=" for i in places) or not self.leads_to_a_page(address):
            return None
        if places:
            parts[places[0]] = f"{PARAMETER}={self._handle.decode()}"
        elif not self._everywhere:
            return None
        else:
            parts = [part for part in parts if part] + [f"{PARAMETER}={self._handle.decode()}"]
        return f"{base}?{'&'.join(parts)}{hash_}{fragment}"

    def leads_to_a_page(self, address: str) -> bool:
        """Say whether an address may be a page of this site's."""
        address = address.strip()
        if not address or address.startswith("#"):
            return False
        try:
            url = urlsplit(address)
        except ValueError:
            return False
        # Browsers read "/\\other.example" as "//other.example".
        if url.scheme not in _WEB or "\\" in address:
            return False
        if (url.scheme and not url.netloc) or (url.netloc and url.netloc.lower() != self._host):
            return False
        if self._static and url.path.startswith(self._static):
            return False
        _, dot, ending = url.path.rpartition("/")[2].rpartition(".")
        return not dot or ending.lower() in _PAGES


def _is_handle(part: str) -> bool:
    return part.partition("=")[0] == PARAMETER


def _after_name(tag: bytes) -> int:
    found = _NAME.match(tag, 1)
    return 1 if found is None else found.end()


def _attributes(tag: bytes) -> Mapping[bytes, bytes]:
    """Map each attribute, in lower case, to its value as written; the first of a name counts."""
    found: dict[bytes, bytes] = {}
    for match in _ATTRIBUTE.finditer(tag, _after_name(tag)):
        value = next((group for group in match.groups()[1:] if group is not None), b"")
        found.setdefault(match[1].lower(), value)
    return found


def _with_value(tag: bytes, attribute: bytes, value: str) -> bytes:
    """Return `tag` with the attribute set."""
    written = escape(value).encode("utf-8", "surrogateescape")
    setting = attribute + b'="' + written + b'"'
    for match in _ATTRIBUTE.finditer(tag, _after_name(tag)):
        if match[1].lower() == attribute:
            return tag[: match.start()] + setting + tag[match.end() :]
    at = _after_name(tag)
    return tag[:at] + b" " + setting + tag[at:]


def _find(text: bytes, end: bytes, at: int) -> int:
    """Find where an element or a comment ends, whatever the case of its name."""
    if end == b"-->":
        return text.find(end, at)
    found = re.compile(re.escape(end) + rb"(?=[\s/>])", re.IGNORECASE).search(text, at)
    return -1 if found is None else found.start()
