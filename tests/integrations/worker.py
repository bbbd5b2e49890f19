"""A real Celery worker's module: `celery -A tests.integrations.worker:celery_app worker`."""

from __future__ import annotations

import os

from tests.integrations.site import make_site

app, celery_app = make_site(os.environ)
