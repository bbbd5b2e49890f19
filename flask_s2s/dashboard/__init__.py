"""The advertiser's dashboard: what the programme earns, why a customer is credited, what failed.

Decisions: plain HTML that is complete without a script, made by a Jinja environment of its own, so
that nothing of the host's templates or filters changes it. Its own Content-Security-Policy allows
nothing but its own files. Who may see it is the host's decision, and there is no default.
"""

from .access import Act as Act
from .access import View as View
from .blueprint import dashboard as dashboard

__all__ = ["Act", "View", "dashboard"]
