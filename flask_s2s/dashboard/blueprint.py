"""The addresses of the dashboard, under whatever prefix the host registers it."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from ..errors import StorageError, TooSlow, UsageError
from ..services import Services
from .access import Access
from .comparison import Reconciliation
from .frame import Frame
from .operation import Operation
from .programme import Programme
from .rendering import STATIC
from .safety import protect


def dashboard(
    services: Callable[[], Services],
    *,
    access: Access,
    title: str = "Partner programme",
    partner_name: Callable[[str], str | None] | None = None,
    name: str = "s2s_dashboard",
) -> Blueprint:
    """Return the blueprint; see `S2S.dashboard`."""
    frame = Frame(services, access, title, partner_name)
    pages, operation = Programme(frame), Operation(frame)
    comparison = Reconciliation(frame)
    blueprint = Blueprint(name, __name__, static_folder=str(STATIC))
    blueprint.before_request(frame.let_in)
    blueprint.after_request(_protected)
    for rule, view, methods in (
        ("/", pages.overview, ["GET"]),
        ("/conversions", pages.conversions, ["GET"]),
        ("/conversions.csv", pages.conversions_csv, ["GET"]),
        ("/conversions/<int:number>", pages.conversion, ["GET"]),
        ("/conversions/<int:number>/retry", pages.retry_one, ["POST"]),
        ("/conversions/<int:number>/ask", pages.ask, ["POST"]),
        ("/customers", pages.customers, ["GET"]),
        ("/customer", pages.customer, ["GET"]),
        ("/customer/credit", pages.credit, ["POST"]),
        ("/partners", pages.partners, ["GET"]),
        ("/partners.csv", pages.partners_csv, ["GET"]),
        ("/partner", pages.partner, ["GET"]),
        ("/fraud", pages.fraud, ["GET"]),
        ("/fraud/block", pages.block, ["POST"]),
        ("/fraud/unblock", pages.unblock, ["POST"]),
        ("/reconciliation", comparison.reconciliation, ["GET"]),
        ("/reconciliation/compare", comparison.compare, ["POST"]),
        ("/reconciliation/explained", comparison.explained, ["POST"]),
        ("/failed", operation.failed, ["GET"]),
        ("/failed/retry", operation.retry, ["GET", "POST"]),
        ("/failed/ack", operation.ack, ["GET", "POST"]),
        ("/failed/discard", operation.discard, ["GET", "POST"]),
        ("/delivery", operation.delivery, ["GET"]),
        ("/delivery/pause", operation.pause, ["GET", "POST"]),
        ("/delivery/resume", operation.resume, ["POST"]),
        ("/acts", operation.acts, ["GET"]),
        ("/acts/<int:number>", operation.progress, ["GET"]),
        ("/settings", operation.settings, ["GET"]),
        ("/settings/check", operation.check, ["POST"]),
        ("/counted", operation.counted, ["GET"]),
    ):
        blueprint.add_url_rule(rule, view.__name__, view, methods=methods)
        if methods == ["POST"]:
            blueprint.add_url_rule(rule, f"form_of_{view.__name__}", frame.back)
    blueprint.register_error_handler(HTTPException, frame.on_http_error)
    blueprint.register_error_handler(UsageError, frame.on_usage)
    blueprint.register_error_handler(TooSlow, frame.on_slow)
    # What is no answer of a database's is a mistake of ours, and no reason to come again.
    for error in (DBAPIError, PoolTimeout, StorageError):
        blueprint.register_error_handler(error, frame.on_database)
    return blueprint


def _protected(response: Response) -> Response:
    is_file = request.endpoint is not None and request.endpoint.endswith(".static")
    if is_file and response.status_code in (200, 304):
        return protect(response, cached="private, max-age=86400")
    return protect(response)
