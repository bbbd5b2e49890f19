"""The parts of the stand-in that its doors share: one object per app."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from flask_s2s.sandbox.books.clicks import Clicks
from flask_s2s.sandbox.books.customers import Customers
from flask_s2s.sandbox.books.database import Database
from flask_s2s.sandbox.books.moments import Clock
from flask_s2s.sandbox.books.posts import Posts
from flask_s2s.sandbox.books.reports import Reports
from flask_s2s.sandbox.books.requestlog import RequestLog
from flask_s2s.sandbox.books.rewards import Rewards
from flask_s2s.sandbox.books.tokens import Tokens
from flask_s2s.sandbox.switches import FaultPlan

EXTENSION = "flask_s2s.sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The books, the switches and the settings of one stand-in."""

    database: Database
    clicks: Clicks
    tokens: Tokens
    customers: Customers
    rewards: Rewards
    posts: Posts
    reports: Reports
    plan: FaultPlan
    log: RequestLog
    now: Clock
    #: The advertiser's page that links lead to.
    target: str
    #: Default seed of the faults.
    seed: int

    def reset(self) -> None:
        """Empty all data and start the faults' stream anew; switches and tokens stay."""
        self.database.empty()
        self.log.clear()
        self.plan.put(self.plan.switches)


def network() -> Network:
    """Return the stand-in that the current request is for."""
    return cast(Network, current_app.extensions[EXTENSION])
