"""The network: one GET to its own address."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ..errors import S2SError, TransportError
from ..networks.network import Request
from ..networks.transport import is_loopback
from ..services import Services
from .findings import Finding


def look(services: Services) -> Iterator[Finding]:
    """Say whether the network answers, and whether it is one that credits."""
    url = services.settings.partnerstack_url
    host = urlsplit(url).hostname
    if is_loopback(url) and not services.settings.debug and not services.settings.testing:
        yield Finding.error(
            "network",
            f"S2S_PARTNERSTACK_URL points at {host}: a stand-in credits nobody",
            "Unset it in production. While developing, run with --debug.",
        )
    try:
        answer = services.transport.send(Request(method="GET", url=url + "/"), seconds=10)
        yield Finding.ok("network", f"{host} answers ({answer.status})")
    except TransportError as error:
        yield Finding.error("network", f"{host}: {error}", "Is outgoing HTTPS allowed from here?")
    except S2SError as error:
        yield Finding.error("network", str(error), "")
