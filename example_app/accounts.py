"""Accounts: the table, opening one, checking a password, and who is logged in."""

from collections.abc import Callable
from datetime import datetime, timezone
from functools import cache, wraps

from flask import g, make_response, redirect, session, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash

from example_app.extensions import db


def now() -> datetime:
    """Return the time, as rows keep it."""
    return datetime.now(timezone.utc)


class User(db.Model):  # type: ignore[name-defined,misc]
    """One customer of Tallyfern."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    #: Lower case, so that one address is one account.
    email: Mapped[str] = mapped_column(unique=True)
    #: None until somebody who joined without a password chooses one.
    password_hash: Mapped[str | None]
    plan: Mapped[str]
    #: The key of the payment for the plan; None where nothing was paid, or all was paid back.
    payment: Mapped[str | None]
    joined: Mapped[datetime] = mapped_column(default=now)


class EmailTaken(Exception):
    """There is an account with this e-mail address already."""


def open_account(
    *, name: str, email: str, password: str | None = None, plan: str = "Seedling"
) -> User:
    """Add an account to the current transaction, which the caller commits.

    Raises :exc:`EmailTaken` on the word of the unique index: looking first would leave a gap in
    which two requests both find the address free.
    """
    user = User(
        name=name,
        email=email,
        password_hash=password and generate_password_hash(password),
        plan=plan,
    )
    db.session.add(user)
    try:
        db.session.flush()
    except IntegrityError as error:
        db.session.rollback()
        raise EmailTaken from error
    return user


def find_account(email: str, password: str) -> User | None:
    """Return the account if the password is right.

    An unknown address costs as much time as a wrong password, so that the time tells nothing.
    """
    user = db.session.scalar(db.select(User).filter_by(email=email))
    stored = user.password_hash if user is not None else None
    right = check_password_hash(stored or _nobodys_hash(), password)
    return user if stored and right else None


@cache
def _nobodys_hash() -> str:
    return generate_password_hash("nobody")


def log_in(user: User) -> None:
    """Start a session that inherits nothing from the visitor's earlier one (session fixation)."""
    session.clear()
    session["user_id"] = user.id


def current_user() -> User | None:
    """Return the account that is logged in, looked up once in a request."""
    if "user" not in g:
        user_id = session.get("user_id")
        g.user = db.session.get(User, user_id) if user_id is not None else None
    user: User | None = g.user
    return user


def login_required(
    view: Callable[[User], ResponseReturnValue],
) -> Callable[[], ResponseReturnValue]:
    """Hand the account to the view; send everybody else to the log-in page.

    Such a page is never kept by the browser, so "back" after a log-out shows nothing.
    """

    @wraps(view)
    def guarded() -> ResponseReturnValue:
        user = current_user()
        if user is None:
            return redirect(url_for("members.login"), 303)
        response = make_response(view(user))
        response.headers["Cache-Control"] = "private, no-store"
        return response

    return guarded
