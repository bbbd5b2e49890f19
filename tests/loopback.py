"""The guard that keeps every test on this machine.

An audit hook, not a patched `socket`: it sees every connection that Python code opens, whichever
library opens it, and a library that keeps its own reference to the class is seen too. Code in C
(libpq) opens its own sockets and is not seen; child processes are not either.

A refusal is raised where the connection is tried, and kept as well: a worker thread that swallows
the exception must not hide it from the test.
"""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from collections.abc import Iterator

import pytest

CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
#: Names that RFC 6761 keeps from ever belonging to anybody; looking one up cannot reach a live site.
RESERVED = ("localhost", "test", "invalid", "example")


def is_local_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    return host in ("", "localhost")


def is_harmless_lookup(host: object) -> bool:
    """A lookup sends its question to a name server, so a live name is refused here already."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str) or host == "":
        return True  # None and "" mean this machine
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return True  # nothing is asked of a name server
    return host.rstrip(".").rpartition(".")[2].lower() in RESERVED


class LoopbackOnly:
    """Refuse connections off this machine while it is on; keep the refused ones."""

    def __init__(self) -> None:
        self.is_on = False
        self.refused: list[str] = []

    def install(self) -> None:
        """Add the hook. There is no taking it out again: one per process, switched by `is_on`."""
        sys.addaudithook(self._audit)

    @contextlib.contextmanager
    def expecting_refusals(self) -> Iterator[list[str]]:
        """Let a test be refused on purpose; yields the list that its refusals are kept in."""
        kept, self.refused = self.refused, []
        try:
            yield self.refused
        finally:
            self.refused = kept

    def _audit(self, event: str, args: tuple[object, ...]) -> None:
        if not self.is_on:
            return
        if event in CONNECTS:
            address = args[1]
            # A unix socket's address is a path; None is a datagram on a connected socket.
            if isinstance(address, tuple) and not is_local_address(str(address[0])):
                self._refuse(f"connect to {address[0]} port {address[1]}")
        elif event in LOOKUPS and not is_harmless_lookup(args[0]):
            self._refuse(f"look up {args[0]!r}")

    def _refuse(self, what: str) -> None:
        self.refused.append(what)
        raise AssertionError(
            f"a test tried to {what}: tests reach this machine's loopback only."
            " Point the code at the sandbox, or at a scripted transport."
        )


@pytest.fixture(scope="session", autouse=True)
def loopback_guard() -> Iterator[LoopbackOnly]:
    """Refuse every connection off this machine, from the first test to the last."""
    guard = LoopbackOnly()
    guard.install()
    guard.is_on = True
    yield guard
    guard.is_on = False


@pytest.fixture(autouse=True)
def loopback_only(loopback_guard: LoopbackOnly) -> Iterator[LoopbackOnly]:
    """Fail a test that tried a live network, even where the code under test hid the refusal."""
    yield loopback_guard
    refused, loopback_guard.refused = loopback_guard.refused, []
    assert not refused, f"a live network was tried, and the refusal swallowed: {refused}"
