"""The file that `startproject` writes, with the middleware around it."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from flask_s2s import S2SMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django = get_wsgi_application()

from .tracking import services  # noqa: E402 - Django's settings are there from here on

application = S2SMiddleware(django, services)
