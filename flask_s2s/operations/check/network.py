"""The network: one GET to its own address."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ...config.parsing import is_loopback
from ...errors import S2SError, TransportError
from ...networks.http import way_to
from ...networks.messages import Request
from ...networks.network import Lane
from ...services import Services
from .findings import Finding

_REMEDY = (
    "Is outgoing HTTPS allowed from here? A proxy is named by S2S_PROXY, a CA of your own by"
    " S2S_CA_BUNDLE."
)


def look(services: Services, *, proved: bool = False) -> Iterator[Finding]:
    """Say whether the network answers, and whether it is one that credits.

    `proved`: it has accepted something from here, so its address is right.
    """
    for network in services.networks.values():
        yield from _look(services, next(iter(network.lanes.values())), proved=proved)


def _look(services: Services, lane: Lane, *, proved: bool) -> Iterator[Finding]:
    url = lane.base_url
    host = urlsplit(url).hostname
    if is_loopback(url) and not services.settings.debug and not services.settings.testing:
        yield Finding.error(
            "network",
            f"{lane.address} points at {host}: a stand-in credits nobody",
            "Unset it in production. While developing, run with --debug.",
        )
    settings = services.settings
    way = way_to(
        url, proxy=settings.proxy, ca_bundle=settings.ca_bundle, trust_env=settings.trust_env
    )
    asked = f"{host} {way}".strip()
    try:
        answer = services.transport.send(Request(method="GET", url=url + "/"), seconds=10)
        found = f"{asked} answers ({answer.status})"
        if answer.status == 404 and not proved:
            remedy = (
                f"It shows that a server is there. Whether the path of {lane.address} is right,"
                " the first delivery tells: `flask s2s status`."
            )
            yield Finding.note("network", found, remedy, "network_404")
        else:
            yield Finding.ok("network", found)
    except TransportError as error:
        yield Finding.error("network", f"{asked}: {error}", _REMEDY)
    except S2SError as error:
        yield Finding.error("network", str(error), "")
