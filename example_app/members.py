"""The customers' pages: log-in, welcome, account, log-out, payments."""

import secrets

from flask import Blueprint, flash, make_response, redirect, render_template, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.security import generate_password_hash

from example_app.accounts import User, current_user, find_account, log_in, login_required
from example_app.extensions import db, s2s
from example_app.forms import LoginForm, PasswordForm

bp = Blueprint("members", __name__)


@bp.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """Log in; the answer does not tell whether the address is known."""
    form = LoginForm()
    if form.validate_on_submit():
        user = find_account(form.email.data, form.password.data)
        if user is not None:
            log_in(user)
            return redirect(url_for("members.account"), 303)
        form.email.errors = ["This address and password do not belong together."]
    return render_template("entry.html", form=form), 422 if form.errors else 200


@bp.post("/logout")
def logout() -> ResponseReturnValue:
    """Log out."""
    session.clear()
    return redirect(url_for("pages.landing"), 303)


@bp.get("/welcome")
def welcome() -> ResponseReturnValue:
    """Greet a new customer, also one whose browser keeps no cookies and so no session.

    A log-in page would look to them as if joining had failed. Who is greeted without a session is
    not known, so that page shows nothing of anybody's account.
    """
    user = current_user()
    response = make_response(render_template("welcome.html", user=user))
    response.headers["Cache-Control"] = "private, no-store"
    return response


@bp.route("/account", methods=["GET", "POST"])
@login_required
def account(user: User) -> ResponseReturnValue:
    """Show the account, and let somebody who joined without a password choose one."""
    form = PasswordForm()
    if user.password_hash is None and form.validate_on_submit():
        user.password_hash = generate_password_hash(form.password.data)
        return back_to_account("Your password is set.")
    return render_template("account.html", user=user, form=form), 422 if form.errors else 200


def back_to_account(message: str) -> ResponseReturnValue:
    """Commit what was done, and say it above the account."""
    db.session.commit()
    flash(message)
    return redirect(url_for("members.account"), 303)


@bp.post("/upgrade")
@login_required
def upgrade(user: User) -> ResponseReturnValue:
    """Move to the Solo plan. A real site would take the payment here; the partner earns from it."""
    user.plan, user.payment = "Solo", f"invoice-{secrets.token_hex(4)}"
    s2s.track_transaction(
        customer_key=user.id, amount=900, currency="EUR", key=user.payment, session=db.session
    )
    return back_to_account("You are on the Solo plan now.")


@bp.post("/refund")
@login_required
def refund(user: User) -> ResponseReturnValue:
    """Pay the month back and move to Seedling: what the partner earned from it is undone."""
    if user.payment is None:
        return redirect(url_for("members.account"), 303)
    s2s.track_refund(customer_key=user.id, transaction_key=user.payment, session=db.session)
    user.plan, user.payment = "Seedling", None
    return back_to_account("Your money is on its way back, and you are on Seedling.")


@bp.post("/invoice")
@login_required
def first_invoice(user: User) -> ResponseReturnValue:
    """Write a first invoice: a milestone that a network can pay for. Once for each customer."""
    s2s.track_action(customer_key=user.id, type="first_invoice", session=db.session)
    return back_to_account("Your first invoice is written.")
