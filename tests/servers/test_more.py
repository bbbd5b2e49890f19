"""Under servers that are less common: a visitor lands, signs up, and is credited once."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.servers.running import APACHE, MORE, PATIENCE
from tests.servers.serving import MOD_WSGI
from tests.servers.shop import Shop

pytestmark = pytest.mark.slow

#: What must be installed, where that is not the server itself alone.
NEEDS = {"uvicorn": ("uvicorn", "a2wsgi")}


def kinds() -> list[object]:
    found: list[object] = []
    for kind in MORE:
        missing = [name for name in NEEDS.get(kind, (kind,)) if find_spec(name) is None]
        why = f"needs {', '.join(missing)}: pip install {' '.join(missing)}"
        found.append(pytest.param(kind, marks=pytest.mark.skipif(bool(missing), reason=why)))
    return found


@pytest.mark.parametrize("kind", kinds())
def test_a_visitor_is_credited_once(shop: Shop, kind: str) -> None:
    server = shop.serve(MORE[kind])
    shop.expect_credited_once(shop.sign_up(server))
    server.ask_to_end()
    server.process.wait(PATIENCE)
    assert server.complaints() == []


@pytest.mark.service
@pytest.mark.skipif(not MOD_WSGI.exists(), reason=f"needs Apache with {MOD_WSGI.name} (Debian)")
def test_a_visitor_is_credited_once_under_mod_wsgi(postgresql_shop: Shop) -> None:
    server = postgresql_shop.serve(APACHE)
    keys = [postgresql_shop.sign_up(server) for _ in range(3)]
    postgresql_shop.expect_credited_once(*keys)
    assert server.end() == 0
    assert server.complaints() == []
