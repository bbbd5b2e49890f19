"""`check` finds what is wrong, and says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_s2s import S2SMiddleware, Transaction
from flask_s2s.testing import answered
from tests.cli.conftest import Site

Opening = Callable[..., Site]
Wrap = Callable[[Any], Any]
SCHEMA = '{"message": "\'xid\' is a required property", "status": 400}'


class Around:
    """Some middleware of the site's own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)


def checked(site: Site, *args: str) -> dict[str, tuple[str, str]]:
    """Return subject -> (level, message with remedy), the worst of each subject."""
    worst: dict[str, tuple[str, str]] = {}
    order = ("ok", "note", "error")
    for finding in json.loads(site.run("check", "--json", *args).stdout):
        text = f"{finding['message']} {finding['remedy']}"
        level = finding["level"]
        seen = worst.get(finding["subject"])
        if seen is None or order.index(level) >= order.index(seen[0]):
            worst[finding["subject"]] = (level, text)
    return worst


def test_check_of_a_site_that_is_well(site: Site) -> None:
    site.sign_up()
    site.drain()
    result = site.run("check", "--site", "www.example.org")
    assert result.exit_code == 0, result.stdout
    found = checked(site, "--site", "www.example.org")
    assert found["cookie"] == ("ok", "s2s for example.org and its subdomains ")
    assert found["network"][0] == "ok"
    assert found["worker"][0] == "ok"


@pytest.mark.parametrize(
    ("config", "subject", "level", "says"),
    [
        ({"S2S_TOKEN": None}, "token", "error", "S2S_TOKEN_FILE"),
        ({"S2S_TOKEN": ["a", "b"]}, "token", "note", "one environment"),
        ({"S2S_TOKEN": "sandbox-token"}, "token", "error", "live one"),
        ({"S2S_TOKEN": lambda: 1 / 0}, "token", "error", "ZeroDivisionError"),
        ({"S2S_TOKEN": None, "S2S_TOKEN_FILE": "/no/file"}, "token", "error", "cannot be read"),
        ({"S2S_PARTNERSTACK_URL": "http://127.0.0.1:5001"}, "network", "error", "credits nobody"),
        ({"S2S_DRY_RUN": True}, "conversions", "note", "is not sent"),
        ({"SECRET_KEY": "dev"}, "signing key", "error", "secrets.token_hex"),
        ({"S2S_COOKIE_DOMAIN": "other.org"}, "cookie", "error", "may not set"),
        ({"S2S_COOKIE_DOMAIN": "co.uk"}, "cookie", "error", "browsers drop"),
    ],
)
def test_check_finds_and_says_what_to_do(
    open_site: Opening, config: dict[str, object], subject: str, level: str, says: str
) -> None:
    site = open_site()
    site.close()
    host = "www.shop.co.uk" if config.get("S2S_COOKIE_DOMAIN") == "co.uk" else "www.example.org"
    found_level, text = _worst(open_site(**config), subject, host, level)
    assert found_level == level
    assert says in text


def _worst(site: Site, subject: str, host: str, level: str) -> tuple[str, str]:
    result = site.run("check", "--json", "--site", host)
    found = [f for f in json.loads(result.stdout) if f["subject"] == subject]
    assert result.exit_code == (1 if level == "error" else 0)
    (one,) = [f for f in found if f["level"] == level]
    return one["level"], f"{one['message']} {one['remedy']}"


@pytest.mark.parametrize(
    ("inside", "outside"),
    [(None, ProxyFix), (ProxyFix, None), (ProxyFix, Around)],
    ids=["outermost", "under our own middleware", "between two"],
)
def test_check_sees_proxyfix_wherever_it_is(
    site: Site, inside: Wrap | None, outside: Wrap | None
) -> None:
    assert checked(site)["proxy"][0] == "note"
    if inside is not None:
        ours = site.app.wsgi_app.__self__  # type: ignore[attr-defined]
        assert isinstance(ours, S2SMiddleware)
        ours.app = inside(ours.app)
    if outside is not None:
        site.app.wsgi_app = outside(site.app.wsgi_app)  # type: ignore[method-assign]
    assert checked(site)["proxy"] == ("ok", "ProxyFix is in place ")


def test_check_lets_an_app_in_debug_mode_use_the_sandbox(open_site: Opening) -> None:
    site = open_site(
        DEBUG=True, S2S_PARTNERSTACK_URL="http://127.0.0.1:5001", S2S_TOKEN="sandbox-token"
    )
    assert site.run("check").exit_code == 0


def test_check_fails_while_a_lane_is_held(site: Site) -> None:
    site.network.then(answered(401))
    site.sign_up()
    site.drain()
    assert checked(site)["conversions"][0] == "error"
    assert site.run("check").exit_code == 1


def test_check_prints_for_people_too(site: Site) -> None:
    shown = site.run("check").stdout
    assert "\x1b" not in shown
    assert "signing key" in shown


def test_a_retry_keeps_a_deadline_that_is_further_away(site: Site) -> None:
    site.network.then(answered(400, SCHEMA))
    delivery = site.sign_up()
    site.drain()
    assert site.run("retry", "--id", "1", "--yes").exit_code == 0
    (row,) = site.services.ledger.find()
    assert row.deadline_at == delivery.deadline_at
    assert row.deadline_at - site.clock.now() == timedelta(days=90)


KEYS = {"S2S_PARTNERSTACK_PUBLIC_KEY": "public", "S2S_PARTNERSTACK_SECRET_KEY": "secret"}


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("signup", "S2S_TOKEN"),
        ("transaction", "S2S_PARTNERSTACK_PUBLIC_KEY and S2S_PARTNERSTACK_SECRET_KEY"),
    ],
)
def test_a_credential_that_is_refused_is_named_by_its_setting(
    open_site: Opening, kind: str, named: str
) -> None:
    site = open_site(**KEYS)
    site.sign_up()
    if kind == "transaction":
        site.network.then(answered(200, '{"data": {"test": false}, "status": 200, "message": ""}'))
        site.drain()
        site.clock.advance(minutes=20)
        site.drain()
        site.services.track(Transaction(customer_key="42", amount=100, currency="EUR", key="tx-1"))
    site.network.then(answered(401))
    site.drain()
    for command in (["status"], ["check"], ["explain", "42"]):
        result = site.run(*command)
        assert f"Correct {named}" in result.stdout
        assert "secret" not in result.stdout.replace("secrets", "")
