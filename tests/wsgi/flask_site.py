"""A Flask site, for the validator: its GETs only, because Flask's own POSTs fail it."""

from __future__ import annotations

import os

from flask import Flask

from flask_s2s import S2S, S2SMiddleware

site = Flask(__name__, instance_path=os.environ["FLASK_FOLDER"])
site.config.from_prefixed_env()
s2s = S2S(site)


@site.get("/")
def landing() -> str:
    click = s2s.current_click()
    return f"click: {click and click.click_id}"


application = site.wsgi_app.__self__  # type: ignore[attr-defined]
assert isinstance(application, S2SMiddleware)
