"""The shop of the delivery tests."""

from __future__ import annotations

from tests.delivery.conftest import open_shop, shop

__all__ = ["open_shop", "shop"]
