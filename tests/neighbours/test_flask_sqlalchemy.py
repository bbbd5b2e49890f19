"""Flask-SQLAlchemy: the outbox is in the app's own database, whichever is initialised first."""

from __future__ import annotations

import pathlib

import pytest
from sqlalchemy import inspect

from flask_s2s import define_tables
from tests.neighbours.conftest import MakeShop
from tests.neighbours.shop import CLICK, Shop


def sign_up_at(shop: Shop) -> None:
    def sign_up() -> str:
        shop.add_user()
        shop.db.session.commit()
        return "done"

    shop.app.add_url_rule("/signup", view_func=sign_up, methods=["POST"])


@pytest.mark.parametrize("first", ["db", "s2s"])
def test_user_and_conversion_are_in_one_database_in_either_order(
    make_shop: MakeShop, first: str
) -> None:
    shop = make_shop()
    for each in (first, *{"db", "s2s"} - {first}):
        getattr(shop, each).init_app(shop.app)
    sign_up_at(shop.start())
    assert shop.visitor().post("/signup").text == "done"
    assert shop.credited() == [("1", CLICK)]
    with shop.app.app_context():
        assert {"user", "s2s_delivery"} <= {*inspect(shop.db.engine).get_table_names()}


def test_the_tables_may_be_made_by_create_all(make_shop: MakeShop) -> None:
    shop = make_shop()
    define_tables(shop.db.metadata)
    shop.db.init_app(shop.app)
    with shop.app.app_context():
        shop.db.create_all()
    sign_up_at(shop.start())
    shop.visitor().post("/signup")
    assert shop.credited() == [("1", CLICK)]


def test_other_binds_are_left_alone(make_shop: MakeShop, tmp_path: pathlib.Path) -> None:
    shop = make_shop(SQLALCHEMY_BINDS={"reports": f"sqlite:///{tmp_path / 'reports.sqlite3'}"})
    sign_up_at(shop.start())
    shop.visitor().post("/signup")
    assert shop.credited() == [("1", CLICK)]
    with shop.app.app_context():
        assert inspect(shop.db.engines["reports"]).get_table_names() == []


def test_a_view_that_fails_leaves_neither_user_nor_conversion(make_shop: MakeShop) -> None:
    shop = make_shop(PROPAGATE_EXCEPTIONS=False).start()

    def sign_up() -> str:
        shop.add_user()
        raise LookupError

    shop.app.add_url_rule("/signup", view_func=sign_up, methods=["POST"])
    assert shop.visitor().post("/signup").status_code == 500
    assert shop.recorded() == []
    with shop.app.app_context():
        assert shop.user_model.query.count() == 0
