"""The address of a database, as somebody wrote it: read when the app is made, or told what to write.

The driver is loaded with it: one that is not installed is found then, and not by the first customer.
"""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ...errors import ConfigError
from ..dialects.engines import in_memory, is_local, load_driver, scheme

_FORM = "It is a SQLAlchemy URL, such as postgresql+psycopg://user@host/name."
#: By what a driver is imported as, the extra that brings one for the same database, and its scheme.
_EXTRAS = {
    "psycopg": ("postgresql", "postgresql+psycopg"),
    "psycopg2": ("postgresql", "postgresql+psycopg"),
    "pymysql": ("mariadb", "mariadb+pymysql"),
    "mysqldb": ("mariadb", "mariadb+pymysql"),
}


def read_address(address: str, key: str) -> URL:
    """Return the URL, a file's with its whole path. Raises `ConfigError`, which names `key`.

    The message has none of the address: it may hold a password.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise ConfigError(key, "cannot be read", _FORM) from None
    if scheme(url) == "postgres":
        raise ConfigError(
            key,
            "begins with postgres://, which SQLAlchemy does not know",
            "Write postgresql+psycopg:// instead.",
        )
    _load_driver(url, key)
    return _file(url, key) if is_local(url) else url


def why_unusable(folder: Path | None, *, make: bool) -> str | None:
    """Say why no file can be written in a folder, which is made if `make` says so."""
    if folder is None:
        return None
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        there = next(one for one in (folder, *folder.parents) if one.exists())
    except OSError as error:
        return f"cannot be made ({error.strerror})"
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return None
    return "cannot be written to" if there == folder else "cannot be made"


def _load_driver(url: URL, key: str) -> None:
    try:
        for_threads = load_driver(url)
    except ImportError as error:
        missing = (error.name or url.get_driver_name()).partition(".")[0]
        if missing.lower() in _EXTRAS:
            extra, written = _EXTRAS[missing.lower()]
            remedy = f"Write {written}:// and run `pip install 'flask-s2s[{extra}]'`."
        else:
            remedy = (
                f"Run `pip install {missing}`, or name another driver "
                "(postgresql+psycopg://, mariadb+pymysql://)."
            )
        raise ConfigError(
            key, f"needs the driver {missing}, which is not installed", remedy
        ) from None
    except SQLAlchemyError as error:
        raise ConfigError(
            key, f"names a database that SQLAlchemy does not know ({scheme(url)})", _FORM
        ) from error
    if not for_threads:
        raise ConfigError(
            key,
            f"names an asynchronous driver ({scheme(url)})",
            "Name one for threads, such as postgresql+psycopg:// or sqlite:///.",
        )


def _file(url: URL, key: str) -> URL:
    if in_memory(url):
        raise ConfigError(key, "is in memory", "Conversions must outlive the process: a file.")
    name = url.database or ""
    return url if name.startswith("file:") else url.set(database=os.path.abspath(name))
