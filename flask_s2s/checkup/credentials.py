"""The credentials that the network refuses: by which setting each is to be corrected."""

from __future__ import annotations

from ..delivery.gate import PAUSED
from ..networks.partnerstack import API
from ..services import Services

#: What the network's API is asked with.
API_KEYS = "S2S_PARTNERSTACK_PUBLIC_KEY and S2S_PARTNERSTACK_SECRET_KEY"


def correction(services: Services, lane: str, reason: str) -> str:
    """Say which setting to correct, where a lane is held for it and the reason names none."""
    if "S2S_" in reason or reason.startswith(PAUSED):
        return ""
    token = "S2S_TOKEN" if services.settings.token_file is None else "S2S_TOKEN_FILE"
    return f"Correct {API_KEYS if lane == API else token}."
