"""A shop whose network says what the tests want."""

from tests.delivery.conftest import open_shop as open_shop
