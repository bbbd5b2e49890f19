"""Every network passes the contract, and the contract finds what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from flask_s2s.conversion import Signup
from flask_s2s.errors import ConfigError
from flask_s2s.networks.messages import Accepted, Outcome, Refused, Request, Response, Secret
from flask_s2s.networks.network import Network, Report, Traits
from flask_s2s.networks.partnerstack import NETWORK
from flask_s2s.networks.reading import Absent, Present, Reading
from flask_s2s.testing import NetworkContract, accepted, answered
from tests.networks.second import Reports, Second


class TestPartnerStack(NetworkContract):
    network = NETWORK
    config: ClassVar[Mapping[str, Any]] = {
        "S2S_TOKEN": "token-for-tests",
        "S2S_PARTNERSTACK_PUBLIC_KEY": "pk-for-tests",
        "S2S_PARTNERSTACK_SECRET_KEY": "sk-for-tests",
    }
    landings: ClassVar[Mapping[str, str]] = {
        "ps_xid=abc123&ps_partner_key=YWRh&sid=blog": "abc123",
        "gsxid=abc123": "abc123",
    }
    accepted = accepted()
    unnamed = frozenset({"S2S_TOKEN", "S2S_TOKEN_FILE"})


class TestSecond(NetworkContract):
    network = Second
    config: ClassVar[Mapping[str, Any]] = {
        "S2S_SECOND_KEY": "key-for-tests",
        "S2S_SECOND_REPORTS_KEY": "reports-for-tests",
    }
    landings: ClassVar[Mapping[str, str]] = {"_tid=abc123&affid=ada&sub1=blog": "abc123"}
    accepted = answered(200, "OK")


class AnotherNames(Second):
    name = "third"


class LaneThatIsNot(Second):
    traits: ClassVar[Mapping[str, Traits]] = {
        Signup.kind: replace(Second.traits[Signup.kind], lane="second/nowhere")
    }


class Elsewhere(Second):
    def request(self, report: Report, secret: Secret) -> Request:
        made = super().request(report, secret)
        return replace(made, url=made.url.replace("trk.second.test", "trk.other.test"))


class WithoutCredential(Second):
    def request(self, report: Report, secret: Secret) -> Request:
        return super().request(report, Secret("constant-of-it"))


class BelievesEverything(Second):
    def outcome(self, report: Report, response: Response) -> Outcome:
        return Accepted(detail="")


class GivesUp(Second):
    def outcome(self, report: Report, response: Response) -> Outcome:
        found = super().outcome(report, response)
        return Refused(detail="") if response.status == 503 else found


class BelievesAnyRecord(Second):
    @property
    def records(self) -> Reports:
        return _Any("https://api.second.test")


class _Any(Reports):
    def read_customer(self, customer_key: str, response: Response) -> Reading:
        return Present() if response.status < 500 else Absent()


class LooksForEverything(Second):
    class _Everything(type(Second.clicks)):  # type: ignore[misc]
        def read(self, query: str, now: Any) -> Any:
            return super().read(query or "_tid=nobody", now)

    clicks = _Everything("second", ["_tid"])


WRONG: list[tuple[type[Network], Callable[[NetworkContract], None]]] = [
    (AnotherNames, NetworkContract.test_its_names_are_its_own),
    (LaneThatIsNot, NetworkContract.test_its_traits_name_lanes_and_kinds_that_there_are),
    (Elsewhere, NetworkContract.test_every_kind_goes_to_its_own_lane_with_its_credential),
    (WithoutCredential, NetworkContract.test_every_kind_goes_to_its_own_lane_with_its_credential),
    (
        BelievesEverything,
        NetworkContract.test_no_answer_escapes_or_is_taken_for_a_yes_that_nobody_said,
    ),
    (
        GivesUp,
        NetworkContract.test_a_refused_credential_holds_the_lane_and_an_outage_refuses_nothing,
    ),
    (
        BelievesAnyRecord,
        NetworkContract.test_no_answer_about_its_records_escapes_or_proves_what_it_does_not,
    ),
    (
        LooksForEverything,
        NetworkContract.test_no_address_makes_a_click_that_was_not_told_or_an_error,
    ),
]


@pytest.mark.parametrize(("wrong", "test"), WRONG, ids=[one.__name__ for one, _ in WRONG])
def test_the_contract_finds_what_is_wrong(
    wrong: type[Network], test: Callable[[NetworkContract], None]
) -> None:
    contract = type(wrong.__name__, (TestSecond,), {"network": wrong})()
    with pytest.raises((AssertionError, ConfigError)):
        test(contract)
