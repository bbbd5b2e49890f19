"""A site's records, read from its database after the request has ended."""

from flask import Flask
from sqlalchemy import func, select

from example_app.accounts import User
from example_app.extensions import db
from flask_s2s import define_tables

DELIVERY = define_tables(db.metadata).delivery.c


def conversions(app: Flask) -> list[tuple[str, str | None, str]]:
    """Return kind, click ID and status of every conversion."""
    with app.app_context():
        rows = db.session.execute(
            select(DELIVERY.kind, DELIVERY.click_id, DELIVERY.status).order_by(DELIVERY.id)
        )
        return [(row.kind, row.click_id, row.status) for row in rows]


def reasons(app: Flask) -> list[tuple[str | None, str]]:
    """Return click ID and reason code of every conversion."""
    with app.app_context():
        rows = db.session.execute(select(DELIVERY.click_id, DELIVERY.reason).order_by(DELIVERY.id))
        return [(row.click_id, row.reason) for row in rows]


def accounts(app: Flask) -> int:
    """Return how many accounts there are."""
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(User)) or 0
