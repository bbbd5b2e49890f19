"""A move that a test steps through, and what is open where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine

from flask_s2s.delivery.moving import Move
from flask_s2s.tables import OPEN
from tests.operations.site import Site


@contextmanager
def moving(site: Site, url: str) -> Iterator[Iterator[int]]:
    """Begin a move to `url`; each step carries one batch, and what is not taken is not moved."""
    with site.app.app_context():
        storage, engine = site.s2s.services.storage, create_engine(url)
        yield Move(storage.engine(), engine, storage.tables, site.clock.now()).run()
        engine.dispose()


def open_in(site: Site) -> list[str]:
    """Return the customers whose deliveries are open there."""
    return sorted(row["customer_key"] for row in site.rows() if row["status"] in OPEN)


def sent_by(site: Site) -> list[str]:
    """Return the customers who were posted, one for each request."""
    return [(request.body or {})["customer_key"] for request in site.transport.requests]
