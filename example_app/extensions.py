"""The extensions, made here without an application so that every module can import them."""

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from flask_s2s import S2S


class Base(DeclarativeBase):
    """The declarative base of the site's tables."""


db = SQLAlchemy(model_class=Base)
s2s = S2S()
