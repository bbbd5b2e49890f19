"""The pages everybody sees, the error page, and what every page has in common."""

from typing import Any

from flask import Blueprint, Response, render_template
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from example_app.accounts import current_user

bp = Blueprint("pages", __name__)

#: No script at all, and nothing from another host.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@bp.get("/")
def landing() -> str:
    """Show what Tallyfern does; this is where partner links lead."""
    return render_template("landing.html")


@bp.get("/pricing")
def pricing() -> str:
    """Show the three plans."""
    return render_template("pricing.html")


@bp.app_errorhandler(HTTPException)
def error(problem: HTTPException) -> ResponseReturnValue:
    """Show an error as a page of the site, a form that another site sent (403) included."""
    if problem.code is None or problem.code < 400:
        return problem.get_response()
    return render_template("error.html", problem=problem), problem.code


@bp.app_context_processor
def who_is_here() -> dict[str, Any]:
    """Let every template ask who is logged in."""
    return {"current_user": current_user}


@bp.after_app_request
def protect(response: Response) -> Response:
    """Forbid scripts and framing; the dashboard has a policy of its own."""
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
