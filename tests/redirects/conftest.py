"""The site that every test here lands on."""

from tests.capture.sites import make_site, site

__all__ = ["make_site", "site"]
