"""The package after `pip install flask-s2s`: names, types, and an import that costs little."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import json
import pathlib
import re
import subprocess
import sys

import click
import pytest

import flask_s2s
from flask_s2s import Services, Settings

#: Adding a name here is a promise to keep it; taking one away breaks somebody's site.
PUBLIC = {
    "Action",
    "Click",
    "ConfigError",
    "Delivery",
    "InvalidConversion",
    "Late",
    "NotStored",
    "Reversal",
    "S2S",
    "S2SError",
    "S2SMiddleware",
    "Services",
    "Settings",
    "Signup",
    "Status",
    "StorageError",
    "Transaction",
    "UsageError",
    "define_tables",
    "signup_completed",
}

#: What an app's `extensions["s2s"]` has.
OF_SERVICES = {
    *("build", "start_serving", "close", "serving_pid", "sender"),
    *("track", "track_signup", "identify", "withdraw", "drain"),
    *("settings", "clock", "storage", "networks", "credentials", "transport"),
    *("signer", "visitors", "touches", "bindings"),
    *("recorder", "outbox", "ledger", "supervisor"),
    *("audit", "blocks", "losses"),
}


def modules_after(code: str) -> set[str]:
    """Run `code` in an interpreter of its own; the names of all modules that it has loaded."""
    report = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def of_package(name: str, modules: set[str]) -> set[str]:
    return {module for module in modules if module == name or module.startswith(f"{name}.")}


def test_the_installed_version_is_the_one_in_pyproject() -> None:
    pyproject = pathlib.Path(__file__).parents[1].joinpath("pyproject.toml").read_text()
    declared = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    assert declared is not None
    assert importlib.metadata.version("flask-s2s") == declared[1]
    assert flask_s2s.__version__ == declared[1]


def test_types_travel_with_the_package() -> None:
    assert importlib.resources.files("flask_s2s").joinpath("py.typed").is_file()


def test_the_public_names_are_these() -> None:
    assert set(flask_s2s.__all__) == PUBLIC
    assert len(flask_s2s.__all__) == len(PUBLIC), "a name is listed twice"


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(flask_s2s, name) is not None
    assert name in dir(flask_s2s)


def test_the_public_attributes_of_services_are_these() -> None:
    services = Services.build(Settings.from_mapping({"S2S_SECRET_KEY": "for-tests-0123456789"}))
    assert {name for name in dir(services) if not name.startswith("_")} == OF_SERVICES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = flask_s2s.no_such_name


def test_importing_the_package_loads_nothing_else_of_it() -> None:
    assert of_package("flask_s2s", modules_after("import flask_s2s")) == {"flask_s2s"}


@pytest.mark.parametrize("package", ["flask", "werkzeug", "sqlalchemy", "requests", "blinker"])
def test_importing_the_package_loads_no_dependency(package: str) -> None:
    assert of_package(package, modules_after("import flask_s2s")) == set()


@pytest.mark.parametrize("module", ["flask_s2s.middleware", "flask_s2s.services"])
def test_sites_without_flask_do_not_load_it(module: str) -> None:
    loaded = modules_after(f"import {module}")
    assert module in loaded
    assert of_package("flask", loaded) == set()


@pytest.mark.parametrize(
    "module", ["cli.context", "dashboard", "integrations", "sandbox", "testing"]
)
def test_the_extension_loads_no_part_that_a_site_may_never_use(module: str) -> None:
    loaded = modules_after("from flask_s2s import S2S\nimport flask\nS2S().init_app")
    assert "flask_s2s.extension" in loaded
    assert of_package(f"flask_s2s.{module}", loaded) == set()


#: What sends, and what looks at, verifies or changes deliveries by hand.
VERIFYING = {"delivery.verifier", "store.outbox.verification_queue"}
FOR_PEOPLE = {"store.outbox.ledger", "store.privacy.personal"}
APART = (
    VERIFYING
    | FOR_PEOPLE
    | {
        "delivery.completer",
        "delivery.executor",
        "delivery.worker",
        "rules.dependencies",
        "rules.verification",
        "delivery.housekeeping",
        "store.outbox.claims",
        "store.outbox.settling",
        "store.outbox.retention",
    }
)
A_SITE = """
import tempfile
from flask import Flask
from flask_s2s import S2S
app = Flask("shop", instance_path=tempfile.mkdtemp())
app.config.update(SECRET_KEY="a-key-for-tests-only-0123456789", S2S_TOKEN="tok")
"""
KEYS = 'app.config.update(S2S_PARTNERSTACK_PUBLIC_KEY="pk", S2S_PARTNERSTACK_SECRET_KEY="sk")\n'


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        pytest.param("import flask_s2s.extension", set(), id="only imported"),
        pytest.param(
            f"{A_SITE}{KEYS}app.config['S2S_WORKER'] = 'external'\nS2S(app)",
            set(),
            id="another process delivers",
        ),
        pytest.param(f"{A_SITE}S2S(app)", APART - VERIFYING - FOR_PEOPLE, id="it delivers itself"),
        pytest.param(f"{A_SITE}{KEYS}S2S(app)", APART - FOR_PEOPLE, id="and verifies"),
    ],
)
def test_a_process_loads_what_it_will_use_before_it_serves(code: str, needed: set[str]) -> None:
    loaded = modules_after(code)
    assert {room for room in APART if f"flask_s2s.{room}" in loaded} == needed
    # What reads the network's records is a part of sending: some conversions must be looked for.
    assert ("flask_s2s.networks.partnerstack.records" in loaded) is bool(needed)


def test_a_web_process_beside_a_worker_serves_and_records_without_the_worker_s_rooms() -> None:
    serving = f"""{A_SITE}app.config['S2S_WORKER'] = 'external'
app.config['S2S_RECORD_WAIT'] = 60
s2s = S2S(app)
@app.post("/signup")
def signup():
    s2s.track_signup(customer_key="42", email="a@shop.example")
    return "welcome"
client = app.test_client()
client.get("/?ps_xid=a1B2c3D4e5F6g7")
assert client.post("/signup").text == "welcome"
with app.app_context():
    assert s2s.services.supervisor.summary().counts == {{"pending": 1}}
"""
    loaded = modules_after(serving)
    assert {room for room in APART if f"flask_s2s.{room}" in loaded} == set()


def test_flask_finds_the_commands() -> None:
    (found,) = importlib.metadata.entry_points(group="flask.commands", name="s2s")
    assert isinstance(found.load(), click.Group)


def test_the_commands_do_not_load_the_sandbox_until_it_is_asked_for() -> None:
    assert of_package("flask_s2s.sandbox", modules_after("import flask_s2s.cli")) == set()


def test_the_sandbox_shares_nothing_with_the_client() -> None:
    loaded = of_package("flask_s2s", modules_after("import flask_s2s.sandbox"))
    assert {m for m in loaded if not m.startswith("flask_s2s.sandbox")} == {"flask_s2s"}
