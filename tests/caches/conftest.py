"""The sites that stand behind the cache."""

from tests.capture.sites import make_site

__all__ = ["make_site"]
