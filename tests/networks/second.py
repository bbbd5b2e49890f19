"""A second network, made up: postbacks with the click's ID, forms, major units, records of its own.

Its key goes in the address, as such networks want it; it takes sign-ups and payments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from flask_s2s.click.formats import Parameters
from flask_s2s.config.parsing import refuse_open, secret_text, url
from flask_s2s.config.setting import Setting
from flask_s2s.conversion import Conversion, Signup, Transaction
from flask_s2s.networks.messages import (
    FORM,
    Accepted,
    Ambiguous,
    Outcome,
    Refused,
    Request,
    Response,
    RetryLater,
    Secret,
    Unauthorised,
)
from flask_s2s.networks.network import Lane, Network, Report, Traits
from flask_s2s.networks.reading import Absent, Listed, More, Page, Present, Reading, Unknown

POSTBACK, REPORTS = "second/postback", "second/reports"


class Second(Network):
    name = "second"
    settings: ClassVar[Sequence[Setting]] = (
        Setting(key="S2S_SECOND_KEY", parse=secret_text, help="The key of postbacks."),
        Setting(key="S2S_SECOND_REPORTS_KEY", parse=secret_text, help="The key of reports."),
        Setting(
            key="S2S_SECOND_URL", parse=url, default="https://trk.second.test", help="Postbacks."
        ),
        Setting(
            key="S2S_SECOND_API_URL", parse=url, default="https://api.second.test", help="Reports."
        ),
    )
    clicks = Parameters(
        "second",
        ["_tid"],
        partner_key=["affid"],
        sub_ids=["sub1", "sub2"],
        cookies=["second_tid"],
    )
    reading_lane = REPORTS
    traits: ClassVar[Mapping[str, Traits]] = {
        Signup.kind: Traits(
            lane=POSTBACK, needs_click=True, repeat_is_harmless=False, verified_by="customer"
        ),
        Transaction.kind: Traits(
            lane=POSTBACK, needs_click=True, repeat_is_harmless=False, money="major"
        ),
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._url, self._api = settings["S2S_SECOND_URL"], settings["S2S_SECOND_API_URL"]
        self.lanes = {
            POSTBACK: Lane(
                name=POSTBACK,
                base_url=self._url,
                address="S2S_SECOND_URL",
                source=settings["S2S_SECOND_KEY"],
                key="S2S_SECOND_KEY",
                credential="key",
                settings="S2S_SECOND_KEY",
            ),
            REPORTS: Lane(
                name=REPORTS,
                base_url=self._api,
                address="S2S_SECOND_API_URL",
                source=settings["S2S_SECOND_REPORTS_KEY"],
                key="S2S_SECOND_REPORTS_KEY",
                credential="reports key",
                settings="S2S_SECOND_REPORTS_KEY",
            ),
        }

    @classmethod
    def check(cls, values: Mapping[str, Any], *, testing: bool) -> None:
        if not testing:
            refuse_open("S2S_SECOND_URL", values["S2S_SECOND_URL"])

    @property
    def records(self) -> Reports:
        return Reports(self._api)

    def request(self, report: Report, secret: Secret) -> Request:
        if report.click is None:
            raise ValueError("everything is credited through a click")
        query = {"key": secret.value, "tid": report.click.click_id}
        match report.conversion:
            case Signup(customer_key=customer):
                address = f"{self._url}/lead?{urlencode({**query, 'customer': customer})}"
                return Request(method="GET", url=address)
            case Transaction() as paid:
                body = {"sum": report.amount, "currency": paid.currency, "order": paid.key}
                address = f"{self._url}/sale?{urlencode(query)}"
                return Request(method="POST", url=address, body=body, content_type=FORM)
            case _:
                raise ValueError("not taken")

    def outcome(self, report: Report, response: Response) -> Outcome:
        if response.status == 200 and response.body.strip() == b"OK":
            return Accepted(detail="")
        if response.status in (401, 403):
            return Unauthorised(detail=f"answered {response.status}")
        if response.status == 422:
            return Refused(detail="the network says that it cannot be")
        if response.status == 429:
            return RetryLater(detail="asked to slow down")
        return Ambiguous(detail=f"answered {response.status}: taken or not")


class Reports:
    def __init__(self, url: str) -> None:
        self._url = url

    def customer_request(self, customer_key: str, secret: Secret) -> Request:
        headers = {"X-Reports-Key": secret.value}
        return Request(
            method="GET", url=f"{self._url}/leads/{quote(customer_key, safe='')}", headers=headers
        )

    def read_customer(self, customer_key: str, response: Response) -> Reading:
        try:
            found = json.loads(response.body)["customer"] if response.status == 200 else None
        except (ValueError, RecursionError, LookupError, TypeError):
            found = None
        if found == customer_key:
            return Present()
        if response.status == 404 and response.body == b"no such lead":
            return Absent()
        return Unknown(detail=f"its reports were answered with {response.status}")

    def records_request(self, conversion: Conversion, page: Page, secret: Secret) -> Request | None:
        return None

    def read_records(self, conversion: Conversion, response: Response) -> Reading | More:
        return Unknown(detail="it has no list", lasting=True)

    def listing_request(self, kind: str, page: Page, secret: Secret) -> Request | None:
        return None

    def read_listing(self, kind: str, response: Response) -> Listed | Unknown:
        return Unknown(detail="it has no list", lasting=True)
