"""Failures on our side: the page is as it would be without us, and the log says why."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from flask_s2s import S2SMiddleware, Services, Settings
from flask_s2s.signals import click_captured
from tests.capture.sites import PAGE, MakeSite, cookie_of, make_app, visit


class NoClock:
    """A clock that answers while the app is built, and never again."""

    def __init__(self) -> None:
        self.broken = False

    def now(self) -> Any:
        if self.broken:
            raise OSError("no time")
        return datetime.now(timezone.utc)


def no_engine() -> Engine:
    raise RuntimeError("the app's database is not configured yet")


#: Settings and parts of `Services.build`, each broken in its own way; FOLDER stands for a folder
#: with a file called `file` in it.
BROKEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no keys": ({"secret_keys": ()}, {}),
    "keys are numbers": ({"secret_keys": (1, 2)}, {}),
    "a key is None": ({"secret_keys": (None,)}, {}),
    "the window is beyond the calendar": ({"window": timedelta.max}, {}),
    "no time": ({}, {"clock": NoClock()}),
    "no engine": ({}, {"host_engine": no_engine}),
    "a folder that is a file": ({"database_uri": "sqlite:///FOLDER/file/db"}, {}),
    "a database that is a folder": ({"database_uri": "sqlite:///FOLDER"}, {}),
    "a token file that is a folder": ({"token_file": "FOLDER"}, {}),
}


def placed(parts: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {
        name: part.replace("FOLDER", str(folder)) if isinstance(part, str) else part
        for name, part in parts.items()
    }


@pytest.mark.parametrize(("setting", "part"), BROKEN.values(), ids=BROKEN.keys())
def test_the_page_stays_as_it_was(
    tmp_path: Path, setting: dict[str, Any], part: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    app = make_app(tmp_path / "instance", {})
    values = {"secret_keys": ("a secret",), "worker": "external", **placed(setting, tmp_path)}
    services = Services.build(Settings(**values), folder=tmp_path / "instance", **part)
    middleware = S2SMiddleware(app.wsgi_app, services)
    if isinstance(clock := part.get("clock"), NoClock):
        clock.broken = True
    for query in ("", "ps_xid=abc", "ps_xid=def&gspk=MTIz"):
        for cookie in (None, "s2s=1abc.def"):
            answer = visit(middleware, query, cookie=cookie)
            expected = visit(app, query, cookie=cookie)
            assert (answer.status, answer.body) == (expected.status, expected.body)
            if answer.cookie is None:
                assert answer == expected
    # Its thread would go on trying, and telling other tests of it.
    services.close()
    assert caplog.records or "token_file" in setting
    assert "a secret" not in caplog.text


def test_a_receiver_that_fails_fails_alone(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site()

    def receive(sender: object, **_: object) -> None:
        raise LookupError("in the receiver")

    with click_captured.connected_to(receive, site.app):
        answer = site.visit("ps_xid=abc")
    assert answer.body == PAGE
    assert site.click_seen(cookie=cookie_of(answer))[0] == "abc"
    assert "s2s.signal.failed" in caplog.text


def test_logs_hold_no_record_and_no_click(
    make_site: MakeSite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    site = make_site(S2S_DATABASE_URI=f"sqlite:///{tmp_path}")
    answer = site.visit("ps_xid=VisitorsClick&sid=VisitorsSub")
    site.click_seen(cookie=cookie_of(answer))
    site.click_seen(cookie=cookie_of(answer) + "x")
    assert "s2s.click.not_stored" in caplog.text
    assert answer.record is not None
    for private in (answer.record, "VisitorsClick", "VisitorsSub"):
        assert private not in caplog.text
