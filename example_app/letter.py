"""The monthly letter: a visitor who is not ready to join leaves an address.

Many who read it join weeks later, on another device or after their browser has forgotten
everything. ``s2s.identify`` binds the partner's click to the address, in the transaction that keeps
it; a sign-up with the same address is then credited, unless the browser brings a click of its own.
"""

from datetime import datetime

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from example_app.accounts import now
from example_app.extensions import db, s2s
from example_app.forms import LetterForm

bp = Blueprint("letter", __name__)


class Reader(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who gets the letter."""

    email: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(default=now)


@bp.route("/letter", methods=["GET", "POST"])
def subscribe() -> ResponseReturnValue:
    """Ask for the letter; the answer does not tell whether somebody gets it already."""
    form = LetterForm()
    if form.validate_on_submit():
        db.session.add(Reader(email=form.email.data))
        try:
            db.session.flush()
        except IntegrityError:
            db.session.rollback()
        s2s.identify(email=form.email.data, session=db.session)
        db.session.commit()
        return redirect(url_for("letter.thanks"), 303)
    return render_template("entry.html", form=form), 422 if form.errors else 200


@bp.get("/letter/thanks")
def thanks() -> str:
    """Thank a new reader."""
    return render_template("thanks.html")
