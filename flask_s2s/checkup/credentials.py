"""The credentials that the network refuses: by which setting each is to be corrected."""

from __future__ import annotations

from collections.abc import Iterator

from ..networks.partnerstack import API
from ..services import Services
from .findings import Finding

#: What the network's API is asked with.
API_KEYS = "S2S_PARTNERSTACK_PUBLIC_KEY and S2S_PARTNERSTACK_SECRET_KEY"


def correction(services: Services, lane: str, reason: str) -> str:
    """Say which setting to correct, where the reason for which a lane is held names none."""
    if "S2S_" in reason:
        return ""
    token = "S2S_TOKEN" if services.settings.token_file is None else "S2S_TOKEN_FILE"
    return f"Correct {API_KEYS if lane == API else token}."


def look(services: Services) -> Iterator[Finding]:
    """Look at what is held because its credential was refused."""
    for gate in services.gates.closed():
        if remedy := correction(services, gate.lane, gate.reason):
            yield Finding.error("credential", f"that of {gate.lane} does not work", remedy)
