"""`flask s2s check` tells a site of several hosts what its cookie means there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask

from flask_s2s import S2S
from flask_s2s.cli import s2s
from flask_s2s.testing import ScriptedTransport
from tests.capture.sites import SECRET
from tests.cli.runner import cli_runner

Found = dict[str, tuple[str, str]]


def checked(app: Flask) -> Found:
    S2S(app, transport=ScriptedTransport())
    result = cli_runner(app).invoke(s2s, ["check", "--json"])
    said = [one for one in json.loads(result.stdout) if one["subject"] in ("tenants", "address")]
    return {one["subject"]: (one["level"], f"{one['message']} {one['remedy']}") for one in said}


@pytest.fixture
def make_app(tmp_path: Path) -> Callable[..., Flask]:
    def make(host_matching: bool = False, **config: Any) -> Flask:
        own = {"host_matching": True, "static_host": "www.shop.example"}
        hosts: dict[str, Any] = own if host_matching else {}
        app = Flask(__name__, instance_path=str(tmp_path), subdomain_matching=True, **hosts)
        app.config.update(SECRET_KEY=SECRET, TESTING=True, SERVER_NAME="shop.example", **config)
        return app

    return make


def test_a_tenant_by_subdomain_asks_for_a_cookie_of_the_host_alone(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app()
    shop = Blueprint("shop", __name__, subdomain="<tenant>")
    shop.add_url_rule("/", view_func=lambda tenant: tenant)
    app.register_blueprint(shop)
    level, text = checked(app)["tenants"]
    assert level == "note"
    assert "'<tenant>'" in text
    assert "S2S_COOKIE_DOMAIN to None" in text
    assert "__Host-s2s" in text


def test_a_tenant_by_host_too(make_app: Callable[..., Flask]) -> None:
    app = make_app(host_matching=True)
    app.add_url_rule("/", host="<tenant>.shop.example", view_func=lambda tenant: tenant)
    assert checked(app)["tenants"][0] == "note"


def test_subdomains_of_the_sites_own_are_none(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.add_url_rule("/", subdomain="api", view_func=lambda: "")
    level, text = checked(app)["tenants"]
    assert level == "ok"
    assert "not seen from here" in text


def test_with_a_cookie_of_the_host_alone_there_is_nothing_to_say(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(S2S_COOKIE_DOMAIN=None)
    app.add_url_rule("/", subdomain="<tenant>", view_func=lambda tenant: tenant)
    assert checked(app) == {}


def test_a_clean_address_and_consent_do_not_go_together(make_app: Callable[..., Flask]) -> None:
    app = make_app(S2S_STRIP_PARAMS=True, S2S_CONSENT=lambda _environ: "granted")
    assert checked(app)["address"][0] == "note"


def test_a_clean_address_alone_does(make_app: Callable[..., Flask]) -> None:
    assert "address" not in checked(make_app(S2S_STRIP_PARAMS=True))
