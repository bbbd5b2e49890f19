"""One stand-in network per test, in memory, with a clock that the test moves."""

import pytest
from flask import Flask

from flask_s2s.sandbox import create_sandbox
from tests.sandbox.caller import Caller, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(clock: Clock) -> Flask:
    return create_sandbox(now=clock, target="https://shop.test/welcome?lang=en#plans")


@pytest.fixture
def caller(app: Flask, clock: Clock) -> Caller:
    return Caller(app, clock)
