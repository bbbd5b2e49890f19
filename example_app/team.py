"""The team: who may see the partner programme's dashboard.

A real site asks its own log-in for a role here. The demo lets everybody in who presses a button.
"""

from flask import Blueprint, Request, abort, redirect, render_template, session, url_for
from flask.typing import ResponseReturnValue

from flask_s2s.dashboard import Act

#: What the partners are called: the network tells their keys alone.
PARTNERS = {
    "ada0c1f7e5b2": "Ada Byron Media",
    "graceh2965": "Grace Reviews",
    "linusw49143": "Linus Weekly",
}

bp = Blueprint("team", __name__)


def access(request: Request) -> Act:
    """Say who asks for a page of the dashboard; send everybody else to the team's entrance."""
    if "team" not in session:
        abort(redirect(url_for("team.enter"), 303))
    return Act(session["team"])


@bp.get("/team")
def enter() -> ResponseReturnValue:
    """Let somebody in as a member of the team."""
    if "team" in session:
        return redirect(url_for("partners.overview"), 303)
    return render_template("team.html")


@bp.post("/team/enter")
def let_in() -> ResponseReturnValue:
    """Begin the team's session."""
    session["team"] = "the demo’s team"
    return redirect(url_for("partners.overview"), 303)
