"""Forms come from our own pages: all others are refused, without a cookie.

A token in the form (Flask-WTF's) is compared with one in the session cookie, so a visitor who blocks
cookies could send no form at all, and could not join. Browsers say where a request comes from:
``Sec-Fetch-Site``, and over plain HTTP, where they do not send that one, ``Origin``. No page can set
either. A client that sends neither is no browser of today, and is refused too.
"""

from flask import Blueprint, abort, request

bp = Blueprint("sameorigin", __name__)

SAFE = ("GET", "HEAD", "OPTIONS")


@bp.before_app_request
def refuse_forms_of_others() -> None:
    """Refuse what may change something and was not sent from a page of this site."""
    if request.method not in SAFE and not is_from_here():
        abort(403)


def is_from_here() -> bool:
    """Say whether the browser names this site as where the request comes from.

    ``same-site`` does not suffice: another port or subdomain may be somebody else's.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    # Not the scheme: behind a proxy that ends TLS the site sees another one than the browser.
    host = request.headers.get("Origin", "").partition("://")[2]
    return host.lower() == request.host.lower()
