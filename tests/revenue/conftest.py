"""The sites that the verification tests have, and one whose customer 42 is confirmed.

On its network a repeated key counts twice.
"""

from __future__ import annotations

import pytest

from tests.revenue.customer import with_customer
from tests.verification.conftest import any_site, open_site, site
from tests.verification.site import Site

__all__ = ["any_site", "open_site", "site"]


@pytest.fixture
def customer(site: Site) -> Site:
    return with_customer(site)


@pytest.fixture
def any_customer(any_site: Site) -> Site:
    return with_customer(any_site)
