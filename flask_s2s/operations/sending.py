"""The request that a delivery is sent by, as it would be made now: without its secret."""

from __future__ import annotations

from typing import Any

from ..networks.messages import Secret
from ..networks.network import report_of
from ..rules.delivery import Delivery
from ..services import Services


def would_send(services: Services, delivery: Delivery) -> dict[str, Any] | None:
    """Return its method, URL and body; None where nothing can be sent of it."""
    network = services.networks.get(delivery.network)
    if delivery.conversion is None or network is None:
        return None
    report = report_of(network, delivery.conversion, delivery.click)
    request = network.request(report, Secret(""))
    return {"method": request.method, "url": request.url, "body": request.body}
