"""The sites that the verification tests have."""

from tests.verification.conftest import any_site, open_site, site

__all__ = ["any_site", "open_site", "site"]
