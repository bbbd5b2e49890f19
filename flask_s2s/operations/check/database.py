"""The database: its tables, and whether it forgets a commit in a power cut."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import gettempdir

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ...errors import S2SError
from ...services import Services
from ...store.dialects.engines import in_memory, is_local, journal_mode, name_of
from ...store.dialects.errors import own_words
from ...store.dialects.servers import forgetful_settings, is_pooled, prepares
from .findings import Finding

#: What platforms whose disks last as long as a process set: Heroku, Cloud Run, Lambda, Vercel.
_FLEETING = ("DYNO", "K_SERVICE", "AWS_LAMBDA_FUNCTION_NAME", "VERCEL")
_RELEASE = re.compile(r"/releases?/[^/]*\d[^/]*/")


def look(services: Services) -> Iterator[Finding]:
    """Look at the tables, which are made where the file is ours, and at the settings."""
    try:
        services.storage.prepare()
        engine = services.storage.engine()
        yield Finding.ok("database", f"{name_of(engine)}, tables are there")
        if services.storage.is_local() and not services.storage.shared_connection:
            with engine.connect() as connection:
                mode = journal_mode(connection)
            if mode != "wal":
                yield Finding.note(
                    "database",
                    f"SQLite in journal mode {mode}: readers and writers wait for each other",
                    "Run `PRAGMA journal_mode=WAL` on the file once.",
                )
        yield from _throwaway(engine)
        yield from _durability(engine)
        yield from _keys(services)
        yield from _pooler(engine)
    except S2SError as error:
        yield Finding.error("database", str(error), "")
    except SQLAlchemyError as error:
        yield Finding.error(
            "database",
            f"cannot be used ({own_words(error)})",
            "Is the server up and the URL right?",
        )


def _throwaway(engine: Engine) -> Iterator[Finding]:
    """Warn where the outbox is a file that the next deploy, or the next start, throws away."""
    name = engine.url.database
    if not is_local(engine) or in_memory(engine.url) or name is None:
        return
    if why := thrown_away(Path(name).absolute(), os.environ):
        yield Finding.note(
            "database",
            f"the outbox is the file {name}: {why}, and what is still to be sent would go with it",
            "Set S2S_DATABASE_URI to a database that is kept, or to a file on a volume.",
        )


def thrown_away(file: Path, environ: Mapping[str, str], root: Path = Path("/")) -> str | None:
    """Say why a file does not outlive a deploy, as far as its place and the process tell."""
    if any(name in environ for name in _FLEETING):
        return "this platform's disk is a new one with each start"
    if file.is_relative_to(gettempdir()) or file.is_relative_to("/run"):
        return "that folder is emptied"
    if _RELEASE.search(file.as_posix()):
        return "each release has a folder of its own"
    if within_container(file, root):
        return "it is in the container, and not on a volume"
    return None


def within_container(file: Path, root: Path) -> bool:
    """Say whether this is a container, and the file is in it and not on a volume."""
    marks = (root / mark for mark in (".dockerenv", "run/.containerenv"))
    return any(mark.exists() for mark in marks) and _device(file) == _device(root)


def _device(path: Path) -> int:
    there = next(one for one in (path, *path.parents) if one.exists())
    return there.stat().st_dev


def _pooler(engine: Engine) -> Iterator[Finding]:
    with engine.connect() as connection:
        if not is_pooled(connection):
            return
        prepared = prepares(connection)
    if prepared:
        yield Finding.error(
            "pooler",
            "a pooler stands before PostgreSQL and psycopg prepares statements: between two"
            " transactions the server changes, and a sign-up fails with the app's own statement",
            'Give the app\'s engine connect_args={"prepare_threshold": None}.',
        )
    yield Finding.note(
        "pooler",
        "a pooler stands before PostgreSQL: `flask s2s work` polls, since nothing can wake it",
        "For the worker, set S2S_DATABASE_URI to the server itself.",
    )


def _keys(services: Services) -> Iterator[Finding]:
    """Look whether the site's secret opens the keys that hash people."""
    services.outbox.keyring.prepare()
    keys, shut = services.outbox.keyring.count()
    if shut:
        yield Finding.error(
            "identity keys",
            f"no secret of this site opens {shut} of {keys}: who was bound before is not found, nor"
            " who asks to be forgotten by an e-mail address",
            "Add the old secret to S2S_SECRET_KEY or SECRET_KEY_FALLBACKS until they are wrapped anew"
            " (this command does it); if it is lost, docs/privacy.md says how to begin anew.",
        )
    else:
        yield Finding.ok("identity keys", f"{keys}, wrapped by the site's newest key")


def _durability(engine: Engine) -> Iterator[Finding]:
    with engine.connect() as connection:
        settings = forgetful_settings(connection)
    for setting, damaging in settings.items():
        lost = (
            "may damage the whole database"
            if damaging
            else "may cost the last commits, users and conversions alike"
        )
        message = f"{setting}: a power cut {lost}"
        yield Finding.note("database", message, "Let it sync every commit.")
