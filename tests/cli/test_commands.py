"""Every command, in process: what it prints, as JSON too, and how it exits."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click import Context
from flask import Flask
from sqlalchemy import Select, Table, select

from flask_s2s.cli import _TASKS, Commands, s2s
from tests.cli.conftest import Site
from tests.cli.runner import cli_runner

Opening = Callable[..., Site]
COMMANDS = (
    *("init-db", "work", "status", "find", "list", "show", "explain", "audit", "verify", "credit"),
    *(
        "backfill",
        "reconcile",
        "report",
        "retry",
        "check",
        "forget",
        "export",
        "sandbox",
    ),
)


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_every_command_explains_itself(site: Site, command: tuple[str, ...]) -> None:
    result = site.run(*command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage:")
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_the_help_lists_every_command(site: Site) -> None:
    listed = site.run("--help").stdout
    assert [name for name in COMMANDS if f"  {name} " not in listed] == []


@pytest.mark.parametrize("name", [name for names in _TASKS.values() for name in names])
def test_every_command_has_an_example_that_it_takes(name: str) -> None:
    command = Commands().get_command(Context(s2s), name)
    assert command is not None
    examples = [
        line.strip()
        for line in (command.help or "").splitlines()
        if line.strip().startswith("flask s2s ")
    ]
    assert examples
    for example in examples:
        typed = shlex.split(example.partition(" > ")[0])
        assert typed[:3] == ["flask", "s2s", name]
        files = {word: os.devnull for word in typed if word.endswith(".csv")}
        command.make_context(name, [files.get(word, word) for word in typed[3:]]).close()


def test_the_help_has_the_commands_by_task_each_once(site: Site) -> None:
    listed = site.run("--help").stdout
    places = [listed.index(f"\n{task}:") for task in _TASKS]
    assert places == sorted(places)
    for names in _TASKS.values():
        for name in names:
            assert listed.count(f"\n  {name} ") == 1


# -- a site without Flask -------------------------------------------------------------------------

ELSEWHERE = """
from flask_s2s import Click, Services, Settings

def application(environ, start_response):
    return []

def make():
    settings = Settings.from_mapping({"SECRET_KEY": "k" * 32, "S2S_TOKEN": "tok"})
    return Services.build(settings, folder="var")

services = make()
if __name__ == "__main__":
    services.supervisor.prepare()
    click = Click(click_id="click1", at=services.clock.now())
    services.track_signup(customer_key="42", click=click)
    services.close()
"""


def _elsewhere(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_site_without_flask_has_the_same_commands(tmp_path: Path) -> None:
    (tmp_path / "mysite.py").write_text(ELSEWHERE)
    assert _elsewhere(tmp_path, "mysite.py").returncode == 0
    package = ("-m", "flask_s2s")
    for where in ("mysite:services", "mysite:make"):
        listed = _elsewhere(tmp_path, *package, "--services", where, "list", "--json")
        (row,) = json.loads(listed.stdout)
        assert (row["customer_key"], row["status"]) == ("42", "pending")
    checked = _elsewhere(tmp_path, *package, "--services", "mysite:services", "explain", "42")
    assert checked.returncode == 0
    named = ("mysite:nothing", "nowhere:services", "mysite:application")
    for wrong in ((), *(("--services", one) for one in named)):
        told = _elsewhere(tmp_path, *package, *wrong, "list")
        assert (told.returncode, "Traceback" in told.stderr) == (2, False)
        assert "--services" in told.stderr


def test_an_app_without_the_extension_is_told_so() -> None:
    result = cli_runner(Flask("other")).invoke(s2s, ["status"])
    assert result.exit_code == 1
    assert "S2S().init_app(app)" in result.stderr


# -- the database ---------------------------------------------------------------------------------


def test_init_db_makes_the_tables_once(site: Site) -> None:
    first, second = site.run("init-db"), site.run("init-db")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "s2s_delivery" in first.stdout
    assert "already" in second.stdout


def test_a_database_that_cannot_be_used_is_one_clear_line(
    open_site: Opening, tmp_path: Path
) -> None:
    # A folder is no file that an administrator could open either.
    site = open_site(S2S_DATABASE_URI=f"sqlite:///{tmp_path}")
    result = site.run("status")
    assert result.exit_code == 1
    assert "OperationalError" in result.stderr
    assert "Traceback" not in result.stderr


def named_version(meta: Table) -> Select[str]:
    return select(meta.c.value).where(meta.c.name == "schema_version")


OTHERS = [
    pytest.param("99", "Install the newer Flask-S2S", id="newer"),
    pytest.param("2", "Drop the tables whose names begin with s2s_", id="older"),
]


@pytest.mark.parametrize("command", ["status", "init-db"])
@pytest.mark.parametrize(("version", "remedy"), OTHERS)
def test_tables_of_another_version_are_left_alone(
    site: Site, command: str, version: str, remedy: str
) -> None:
    site.run("init-db")
    meta = site.services.storage.tables.meta
    with site.services.storage.engine().begin() as connection:
        named = meta.update().where(meta.c.name == "schema_version")
        connection.execute(named.values(value=version))
    result = site.run(command)
    assert result.exit_code == 1
    assert f"version {version}" in result.stderr
    assert remedy in result.stderr
    with site.services.storage.engine().connect() as connection:
        assert connection.scalar(named_version(meta)) == version


def test_what_refuses_older_tables_is_enough(site: Site) -> None:
    site.run("init-db")
    storage = site.services.storage
    with storage.engine().begin() as connection:
        connection.execute(storage.tables.meta.update().values(value="2"))
    storage.metadata.drop_all(storage.engine())
    assert site.run("init-db").exit_code == 0
    assert site.run("status").exit_code == 0
