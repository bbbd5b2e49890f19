"""Settings that would give a secret away are refused at start: clear text, and guessable keys."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_s2s import S2S, Click, Services, Settings
from flask_s2s.cli import s2s as commands
from flask_s2s.errors import ConfigError
from flask_s2s.networks.messages import Request, Response
from flask_s2s.testing import ManualClock, ScriptedTransport

KEY = {"SECRET_KEY": "a-key-for-tests-only-0123456789", "S2S_TOKEN": "tok-of-the-tests"}


@pytest.mark.parametrize("key", ["S2S_PARTNERSTACK_URL", "S2S_PARTNERSTACK_API_URL"])
@pytest.mark.parametrize(
    "url",
    ["http://partnerlinks.io", "HTTP://169.254.169.254/latest", "http://localhost.example.org"],
)
def test_a_network_in_clear_text_is_refused(key: str, url: str) -> None:
    with pytest.raises(ConfigError, match=key):
        Settings.from_mapping({**KEY, key: url})
    with pytest.raises(ConfigError, match=key):
        Settings.from_mapping({**KEY, key: url, "DEBUG": True})
    with pytest.raises(ConfigError, match=key):
        Settings.from_mapping({**KEY, key: url, "S2S_TOKEN": lambda: "sandbox-token"})
    assert Settings.from_mapping({**KEY, key: url, "TESTING": True}).testing
    assert (
        url in Settings.from_mapping({**KEY, key: url, "S2S_TOKEN": "sandbox-token"}).own.values()
    )


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:5001", "http://[::1]:80", "https://partnerlinks.io"]
)
def test_this_machine_and_tls_are_not(url: str) -> None:
    settings = Settings.from_mapping({**KEY, "S2S_PARTNERSTACK_URL": url})
    assert settings.own["partnerstack_url"] == url


@pytest.mark.parametrize("short", ["short", ["k" * 32, "short"], b"15 characters.."])
def test_a_key_of_our_own_that_can_be_guessed_is_refused(short: Any) -> None:
    with pytest.raises(ConfigError, match="S2S_SECRET_KEY") as caught:
        Settings.from_mapping({"S2S_SECRET_KEY": short})
    assert "short" not in str(caught.value)
    for quiet in ("TESTING", "DEBUG"):
        assert Settings.from_mapping({"S2S_SECRET_KEY": short, quiet: True}).shortest_key < 16


@pytest.mark.parametrize("short", [True, False])
def test_a_key_of_the_app_that_can_be_guessed_is_warned_of_and_fails_check(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, short: bool
) -> None:
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.update(KEY, S2S_WORKER="external")
    if short:
        app.config["SECRET_KEY"] = "geheim"
    with caplog.at_level(logging.WARNING):
        S2S(app, transport=ScriptedTransport())
    actions = [record.__dict__.get("action") for record in caplog.records]
    assert actions == (["secret_key.short"] if short else [])
    result = app.test_cli_runner().invoke(commands, ["check"])
    (line,) = [one for one in result.output.splitlines() if "signing key" in one]
    assert line.startswith("error" if short else "ok")
    assert not short or result.exit_code == 1
    assert "geheim" not in caplog.text + result.output


class _Variables(logging.Handler):
    """Keeps what a service for errors keeps of a log record: the variables of every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        frames = [frame for frame, _ in traceback.walk_stack(sys._getframe())]
        if record.exc_info and record.exc_info[2]:
            frames += [frame for frame, _ in traceback.walk_tb(record.exc_info[2])]
        ours = [one for one in frames if one.f_globals["__name__"].startswith("flask_s2s")]
        self.seen += [f"{name}={value!r}" for one in ours for name, value in one.f_locals.items()]


class _Broken:
    """A transport of a site's own, with a mistake in it."""

    def send(self, request: Request, *, seconds: float) -> Response:
        raise RuntimeError(f"what to do with {request}")


def test_no_frame_that_is_logged_has_a_credential_or_a_person_in_its_variables(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    settings = Settings.from_mapping(KEY)
    services = Services.build(settings, folder=tmp_path, transport=_Broken(), clock=clock)
    services.storage.create()
    services.supervisor.prepare()
    click = Click(click_id="abc", at=clock.now())
    services.track_signup(customer_key="42", email="ada@quark.example", name="Ada Q", click=click)
    variables, log = _Variables(), logging.getLogger("flask_s2s")
    log.addHandler(variables)
    try:
        assert services.drain() == 1
    finally:
        log.removeHandler(variables)
        services.close()
    assert any(one.startswith("redacted=") for one in variables.seen), "where it is sent"
    for secret in (KEY["S2S_TOKEN"], KEY["SECRET_KEY"], "ada@quark.example", "Ada Q"):
        assert [one for one in variables.seen if secret in one] == []
