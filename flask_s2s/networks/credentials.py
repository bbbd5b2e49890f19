"""Credentials: each is a string, a list (rotation), a file or a callable, and goes to one host.

Read again for every attempt: a corrected file or secret store is used without a restart. (A file's
time of change is not asked: two changes within its resolution look like one.)

A credential belongs to one lane and goes to that lane's host alone. A lane that is not known gets
none; and whatever a network module builds, `OwnHostOnly` looks at each request last of all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import quote, urlsplit

from ..config.parsing import is_loopback, tokens_of
from ..errors import ConfigError
from .messages import Request, Response, Secret, Transport
from .network import Lane, Network
from .redaction import forms_of

_LONGEST_FILE = 65536
#: What is shorter is no credential: it may stand in any request by itself.
_SHORTEST = 8
#: So many are remembered: a callable may give a new one each time.
_MOST = 100
_PORTS = {"http": 80, "https": 443}

#: Scheme, host and port.
Origin = tuple[str, str, "int | None"]


class Credentials:
    """Finds the secrets of a lane, in the order to try them. No `repr` or log shows one."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self.lanes = {name: lane for one in networks for name, lane in one.lanes.items()}
        #: What was handed out: all forms of it, and whom it belongs to.
        self._owners: dict[str, tuple[frozenset[str], set[Origin]]] = {}
        self._origins = {name: origin_of(lane.base_url) for name, lane in self.lanes.items()}
        #: What the settings hold as text, by lane: it is the same for every attempt.
        self._set: dict[str, tuple[Secret, ...]] = {}

    def for_lane(self, name: str) -> tuple[Secret, ...]:
        """Return what may open a lane; nothing for one that is not known.

        Raises `ConfigError` where it cannot be read, or what is there cannot be used.
        """
        lane = self.lanes.get(name)
        if lane is None:
            return ()
        if (found := self._set.get(name)) is None:
            found = tuple(map(Secret, _read(lane)))
            if lane.file is None and not callable(lane.source):
                self._set[name] = found
        for secret in found:
            self._own(secret.value, self._origins[name])
        return found

    def _own(self, secret: str, origin: Origin) -> None:
        owned = self._owners.get(secret)
        if owned is None:
            if len(self._owners) >= _MOST:
                self._owners.pop(next(iter(self._owners)), None)
            owned = self._owners[secret] = (frozenset(_written(secret)), set())
        owned[1].add(origin)

    def leaving(self, request: Request) -> bool:
        """Say whether a request would carry a credential to another host than its own."""
        origin = origin_of(request.url)
        foreign = [forms for forms, owners in list(self._owners.values()) if origin not in owners]
        if not foreign:
            return False
        text = "\n".join((request.url, *map(str, request.headers.values()), _body(request)))
        return any(form in text for forms in foreign for form in forms)

    def missing(self, name: str) -> str:
        """Say what to set when a lane has no credential."""
        lane = self.lanes.get(name)
        if lane is None:
            return f"no credential belongs to the lane {name}"
        return f"no {lane.credential}: set {lane.settings}"


def _read(lane: Lane) -> tuple[str, ...]:
    """Return the credentials that exist now: in a file, from a callable, or as they were set.

    Raises `ConfigError` when the file cannot be read, the callable fails, or what they give cannot
    be used.
    """
    if lane.file is not None:
        return _from_file(lane.file_key, lane.file)
    if not callable(lane.source):
        return tokens_of(lane.key, lane.source)
    try:
        given = lane.source()
    except Exception as error:  # noqa: BLE001 - the developer's own code
        # Not chained: the message of a secret store may show the secret.
        problem = f"is a callable that raised {type(error).__name__}"
        raise ConfigError(lane.key, problem, "Correct it.") from None
    return tokens_of(lane.key, given)


class OwnHostOnly:
    """Any transport, but a request that carries a credential to a host of others is not sent."""

    def __init__(self, transport: Transport, credentials: Credentials) -> None:
        self.transport = transport
        self.credentials = credentials

    def send(self, request: Request, *, seconds: float) -> Response:
        if self.credentials.leaving(request):
            host = urlsplit(request.url).hostname
            problem = f"would have gone to {host}, which it does not belong to"
            raise ConfigError("A credential", problem, "Give that network a lane of its own.")
        return self.transport.send(request, seconds=seconds)


class LoopbackOnly:
    """Any transport, but a request to another machine is refused while it is `testing`."""

    def __init__(
        self, transport: Transport, lanes: Sequence[Lane], testing: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._lanes = lanes
        self._testing = testing

    def send(self, request: Request, *, seconds: float) -> Response:
        self.refuse_live(request.url)
        return self._transport.send(request, seconds=seconds)

    def refuse_live(self, url: str) -> None:
        """Raise `ConfigError` for a test whose `url` does not name this machine."""
        if self._testing() and not is_loopback(url):
            named = (lane.address for lane in self._lanes if url.startswith(lane.base_url))
            raise ConfigError(
                next(named, "The address of a network"),
                f"is a live network ({urlsplit(url).hostname}) while TESTING is set",
                "Point it at the sandbox, or give S2S a transport: "
                "S2S(transport=ScriptedTransport()).",
            )


def origin_of(url: str) -> Origin:
    """Return where a request to `url` goes."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def _written(secret: str) -> set[str]:
    """Return how a request may carry a credential."""
    forms = {form for form in forms_of(secret) if len(form) >= _SHORTEST}
    return forms | {quote(form, safe="") for form in forms}


def _body(request: Request) -> str:
    body: Mapping[str, object] | None = request.body
    return "" if body is None else json.dumps(body, ensure_ascii=False, default=str)


def _from_file(key: str, path: str) -> tuple[str, ...]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read(_LONGEST_FILE).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read ({type(error).__name__})"
        raise ConfigError(key, problem, "One token a line, readable here.") from None
    return tokens_of(key, [line for line in lines if line.strip()])
