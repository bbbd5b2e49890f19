"""A Pyramid site with SQLAlchemy: the conversion is one more row in the site's own transaction."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pyramid.config import Configurator
from pyramid.response import Response
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from flask_s2s import S2SMiddleware, Services, Settings, define_tables

folder = Path(os.environ["FLASK_FOLDER"])
engine = create_engine(f"sqlite:///{folder / 'site.sqlite3'}")
services = Services.build(
    Settings.from_mapping(
        {
            "SECRET_KEY": os.environ["FLASK_SECRET_KEY"],
            "S2S_TOKEN": os.environ["FLASK_S2S_TOKEN"],
            "S2S_PARTNERSTACK_URL": os.environ["FLASK_S2S_PARTNERSTACK_URL"],
        }
    ),
    host_engine=lambda: engine,
)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


define_tables(Base.metadata)


def landing(request: Any) -> Response:
    click = request.environ["flask_s2s.click"]
    return Response(f"click: {click and click.click_id}")


def form(request: Any) -> Response:
    where = request.route_path("signup")
    return Response(f'<form method="post" action="{where}"><input name="username"></form>')


def sign_up(request: Any) -> Response:
    with Session(engine) as session, session.begin():
        user = User(name=request.POST["username"])
        session.add(user)
        session.flush()
        key = f"pyramid-{user.id}"
        services.track_signup(customer_key=key, session=session, environ=request.environ)
        if user.name == "taken back":
            session.rollback()
            return Response("sorry", status=409)
    return Response(f"welcome {key}")


Base.metadata.create_all(engine)
with Configurator() as config:
    config.add_route("landing", "/")
    config.add_route("signup", "/signup")
    config.add_view(landing, route_name="landing")
    config.add_view(form, route_name="signup", request_method="GET")
    config.add_view(sign_up, route_name="signup", request_method="POST")
    application = S2SMiddleware(config.make_wsgi_app(), services)
