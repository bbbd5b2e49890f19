"""Early access to the Studio plan: a corner of the site that knows nothing about partners.

It announces what happened, as Flask-Security and many other packages do. ``create_app``'s module
connects the **signal** to the partner programme, so nothing here had to change for it.
"""

from blinker import signal
from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from example_app.accounts import EmailTaken, log_in, open_account
from example_app.extensions import db
from example_app.forms import StudioForm
from example_app.joining import TAKEN

bp = Blueprint("studio", __name__)

#: Somebody joined the early-access list. Sent with ``user`` before the commit.
early_access_joined = signal("early-access-joined")


@bp.route("/studio", methods=["GET", "POST"])
def early_access() -> ResponseReturnValue:
    """Join the early-access list, which opens an account."""
    form = StudioForm()
    if form.validate_on_submit():
        try:
            user = open_account(name=form.name.data, email=form.email.data, plan="Studio")
        except EmailTaken:
            form.email.errors = [TAKEN]
        else:
            early_access_joined.send(bp, user=user)
            db.session.commit()
            log_in(user)
            return redirect(url_for("members.welcome"), 303)
    return render_template("entry.html", form=form), 422 if form.errors else 200
