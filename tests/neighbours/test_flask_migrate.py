"""Flask-Migrate: autogenerate sees our tables once, and is quiet from then on."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from sqlalchemy import MetaData, create_engine, inspect
from sqlalchemy.pool import NullPool

from flask_s2s import define_tables
from tests.recording.rows import conversions
from tests.servers.running import PATIENCE, ROOT

pytestmark = pytest.mark.slow

SITE = "tests.neighbours.migrated_site:create_app"
METADATA = MetaData()
define_tables(METADATA)
OURS = set(METADATA.tables)
SIGN_UP = """
from tests.neighbours.migrated_site import create_app
client = create_app().test_client()
client.get("/?ps_xid=Click123456789")
print(client.post("/signup", data={"email": "a@b.example"}).text)
"""


class Project:
    """A folder with migrations, and a database."""

    def __init__(self, folder: pathlib.Path, url: str, tables: str) -> None:
        self.folder, self.url = folder, url
        settings = {
            "SECRET_KEY": "shop",
            "S2S_TOKEN": "token",
            "S2S_DRY_RUN": "true",
            "S2S_WORKER": "external",
            "SQLALCHEMY_DATABASE_URI": url,
            "TABLES": tables,
        }
        self.environment = {name: v for name, v in os.environ.items() if "FLASK" not in name}
        self.environment |= {f"FLASK_{name}": value for name, value in settings.items()}
        self.environment["PYTHONPATH"] = str(ROOT)

    def flask(self, *command: str) -> str:
        """Run a command of `flask`; return what it said."""
        return self._run("-m", "flask", "--app", SITE, *command)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def migrate(self) -> str | None:
        """Let Alembic compare; return the migration that it wrote, or None."""
        before = set(self.folder.glob("migrations/versions/*.py"))
        said = self.flask("db", "migrate")
        written = set(self.folder.glob("migrations/versions/*.py")) - before
        assert ("No changes in schema detected" in said) is (not written)
        return written.pop().read_text() if written else None

    def sign_up(self) -> list[tuple[str, str]]:
        """Sign a visitor up who came by a partner's link; return what is in the outbox."""
        said = self._run("-c", SIGN_UP)
        assert said.splitlines()[-1] == "1", said
        return conversions(self.url)

    def tables(self) -> set[str]:
        engine = create_engine(self.url, poolclass=NullPool)
        return set(inspect(engine).get_table_names())


def test_tables_on_the_sites_metadata_are_made_once(
    tmp_path: pathlib.Path, database_url: str
) -> None:
    project = Project(tmp_path, database_url, "defined")
    project.flask("db", "init")
    first = project.migrate()
    assert first is not None
    for table in OURS:
        assert first.count(f"op.create_table('{table}'") == 1
    project.flask("db", "upgrade")
    assert project.migrate() is None
    assert project.sign_up() == [("1", "dry_run")]
    assert project.migrate() is None
    project.flask("db", "check")


def test_tables_that_alembic_is_told_to_overlook_are_left_alone(
    tmp_path: pathlib.Path, sqlite_url: str
) -> None:
    project = Project(tmp_path, sqlite_url, "apart")
    project.flask("s2s", "init-db")
    project.flask("db", "init")
    first = project.migrate()
    assert first is not None
    assert "user" in first
    assert "s2s_" not in first
    project.flask("db", "upgrade")
    assert project.sign_up() == [("1", "dry_run")]
    assert project.migrate() is None
    assert project.tables() >= OURS
    project.flask("db", "downgrade", "base")
    assert project.tables() >= OURS


def test_a_downgrade_takes_our_tables_and_an_upgrade_makes_them_again(
    tmp_path: pathlib.Path, sqlite_url: str
) -> None:
    project = Project(tmp_path, sqlite_url, "defined")
    project.flask("db", "init")
    project.migrate()
    project.flask("db", "upgrade")
    project.flask("db", "downgrade", "base")
    assert project.tables() & OURS == set()
    project.flask("db", "upgrade")
    assert project.sign_up() == [("1", "dry_run")]
