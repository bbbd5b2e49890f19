"""Two ways in, and two ways to tell the partner programme about it.

``POST /signup`` makes the **call** inside the transaction that creates the user: both are committed,
or neither. ``POST /trial`` leaves its view alone and uses the **decorator**, which records the
conversion when the view has succeeded. For the third way, a signal, see ``studio.py``.

A rejected form is shown again with status 422 and records nothing.
"""

from flask import Blueprint, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from example_app.accounts import EmailTaken, log_in, open_account
from example_app.extensions import db, s2s
from example_app.forms import SignupForm, TrialForm

bp = Blueprint("joining", __name__)

TAKEN = "There is an account with this address already. Log in instead."


@bp.route("/signup", methods=["GET", "POST"])
def signup() -> ResponseReturnValue:
    """Open an account with a password."""
    form = SignupForm()
    if form.validate_on_submit():
        try:
            user = open_account(
                name=form.name.data, email=form.email.data, password=form.password.data
            )
        except EmailTaken:
            form.email.errors = [TAKEN]
        else:
            s2s.track_signup(
                customer_key=user.id, email=user.email, name=user.name, session=db.session
            )
            db.session.commit()
            log_in(user)
            return redirect(url_for("members.welcome"), 303)
    return render_template("entry.html", form=form), 422 if form.errors else 200


@bp.route("/trial", methods=["GET", "POST"])
@s2s.conversion(
    "signup",
    when=lambda: "new_customer" in g,
    customer_key=lambda: g.new_customer.id,
    email=lambda: g.new_customer.email,
    name=lambda: g.new_customer.name,
    session=db.session,
)
def trial() -> ResponseReturnValue:
    """Open an account without a password; the account page offers to choose one."""
    form = TrialForm()
    if form.validate_on_submit():
        try:
            user = open_account(name=form.name.data, email=form.email.data, plan="Solo trial")
        except EmailTaken:
            form.email.errors = [TAKEN]
        else:
            g.new_customer = user
            db.session.commit()
            log_in(user)
            return redirect(url_for("members.welcome"), 303)
    return render_template("entry.html", form=form), 422 if form.errors else 200
