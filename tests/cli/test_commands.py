"""Every command, in process: what it prints, as JSON too, and how it exits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from flask_s2s.cli import s2s
from tests.cli.conftest import Site
from tests.cli.runner import cli_runner

Opening = Callable[..., Site]
COMMANDS = (
    *("init-db", "upgrade-db", "work", "status", "list", "show", "explain", "credit"),
    *("retry", "check", "rotate-identity-key", "forget", "export", "sandbox"),
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


def test_upgrade_db_says_the_version(site: Site) -> None:
    site.run("init-db")
    result = site.run("upgrade-db")
    assert result.exit_code == 0
    assert "already" in result.stdout


def test_a_database_that_cannot_be_used_is_one_clear_line(open_site: Opening) -> None:
    site = open_site(S2S_DATABASE_URI="sqlite:////nowhere/at/all.sqlite3")
    result = site.run("status")
    assert result.exit_code == 1
    assert "OperationalError" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["upgrade-db", "status", "init-db"])
def test_tables_of_a_newer_version_are_left_alone(site: Site, command: str) -> None:
    site.run("init-db")
    meta = site.services.storage.tables.meta
    with site.services.storage.engine().begin() as connection:
        named = meta.update().where(meta.c.name == "schema_version")
        connection.execute(named.values(value="99"))
    result = site.run(command)
    assert result.exit_code == 1
    assert "version 99" in result.stderr
    assert "Install the newer Flask-S2S" in result.stderr
    assert "upgrade-db" not in result.stderr
