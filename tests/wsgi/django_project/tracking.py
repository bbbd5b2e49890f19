"""The one object of the project that knows the partner network."""

from __future__ import annotations

import os

from django.conf import settings

from flask_s2s import Services, Settings

services = Services.build(
    Settings.from_mapping(
        {
            "SECRET_KEY": settings.SECRET_KEY,
            "S2S_TOKEN": os.environ["FLASK_S2S_TOKEN"],
            "S2S_PARTNERSTACK_URL": os.environ["FLASK_S2S_PARTNERSTACK_URL"],
        }
    ),
    folder=settings.BASE_DIR,
)
