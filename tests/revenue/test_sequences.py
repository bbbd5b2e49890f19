"""Sequences of sign-ups, payments, parts paid back and payments undone, against a model.

Every request may meet a fault, before or after it had its effect, and the network counts a repeated
key a second time. The model knows who came by a click, what they paid, and what was undone. When
the network is well again, what it would pay the partner for must be exactly that.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from flask_s2s.conversion import Action, Reversal, Transaction
from tests.verification.site import Site

CUSTOMERS = st.sampled_from(["ann", "bob"])
NUMBERS = st.integers(0, 2)
FAULTS = (
    "too_many",
    "error_before_write",
    "error_after_write",
    "timeout_before_write",
    "timeout_after_write",
    "reset_after_write",
    "html_page",
    "redirect",
)
#: As long as anything may have to wait once the network is well, in steps of an hour.
_PATIENCE = 48


class FromPaymentToBalance(RuleBasedStateMachine):
    """The partner is paid for what was paid, and for nothing that was paid back."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.site = Site(f"sqlite:///{self.folder / 'site.sqlite3'}")
        self.site.switch(repeated_reward="second")
        #: The model: who came by a click, each payment, its parts, and what is undone.
        self.credited: set[str] = set()
        self.paid: dict[str, tuple[str, int]] = {}
        self.parts: dict[str, dict[str, int]] = {}
        self.undone: set[str] = set()
        self.reported: set[str] = set()
        self.acted: set[str] = set()

    # -- what customers do --------------------------------------------------------------------

    @rule(customer=CUSTOMERS, by_a_click=st.sampled_from([True, True, False]))
    def sign_up(self, customer: str, by_a_click: bool) -> None:
        click = self.site.click() if by_a_click else None
        self.site.services.track_signup(customer_key=customer, click=click)
        if by_a_click:
            self.credited.add(customer)

    @rule(customer=CUSTOMERS, number=NUMBERS)
    def pay(self, customer: str, number: int) -> None:
        key, amount = f"{customer}-{number}", 1000 + number
        self.site.track(Transaction(customer_key=customer, amount=amount, currency="EUR", key=key))
        self.paid[key] = (customer, amount)
        if key in self.undone:
            # It came back: the last word counts, and what was paid back before is gone with it.
            self.undone.discard(key)
            self.parts.pop(key, None)

    @rule(customer=CUSTOMERS)
    def reach_a_milestone(self, customer: str) -> None:
        self.site.track(Action(customer_key=customer, type="activated", key=f"{customer}-act"))
        self.acted.add(customer)

    @precondition(lambda self: self.paid)
    @rule(data=st.data(), number=NUMBERS)
    def pay_a_part_back(self, data: st.DataObject, number: int) -> None:
        paid = data.draw(st.sampled_from(sorted(self.paid)))
        customer, _ = self.paid[paid]
        part, amount = f"{paid}-part-{number}", 10 + number
        self.site.track(
            Transaction(
                customer_key=customer, amount=-amount, currency="EUR", key=part, refunds=paid
            )
        )
        if part not in self.reported:
            self.parts.setdefault(paid, {})[part] = amount
        self.reported.add(part)

    @precondition(lambda self: self.paid)
    @rule(data=st.data())
    def undo_a_payment(self, data: st.DataObject) -> None:
        paid = data.draw(st.sampled_from(sorted(self.paid)))
        self.site.track(Reversal(customer_key=self.paid[paid][0], transaction_key=paid))
        self.undone.add(paid)

    # -- what happens -------------------------------------------------------------------------

    @rule(hours=st.sampled_from([0.01, 0.3, 5]), fault=st.sampled_from(FAULTS))
    def time_passes_in_trouble(self, hours: float, fault: str) -> None:
        self.site.switch(repeated_reward="second", **{fault: 0.5})
        self.site.after(hours=hours)

    @rule(hours=st.sampled_from([0.01, 0.3, 5]))
    def time_passes(self, hours: float) -> None:
        self.site.switch(repeated_reward="second")
        self.site.after(hours=hours)

    @rule()
    def restart(self) -> None:
        self.site.services = self.site.another()

    # -- what must come of it -----------------------------------------------------------------

    @rule()
    def all_is_well_in_the_end(self) -> None:
        self.site.switch(repeated_reward="second")
        for _ in range(_PATIENCE):
            self.site.after(hours=1)
            if not self._is_open():
                break
        assert not self._is_open()
        ledger = self.site.ledger()
        counted = {
            re.sub(":again[0-9]+$", "", one["external_key"]): one["body"]["amount"]
            for one in ledger["transactions"]
            if one["archived_at"] is None
        }
        assert counted == self._expected()
        standing = [one for one in ledger["transactions"] if one["archived_at"] is None]
        assert len(standing) == len(counted)
        # Once each, the undone ones too: a second one would count, and nobody would undo it.
        for kind in ("transactions", "actions"):
            keys = [one["external_key"] for one in ledger[kind]]
            assert len(keys) == len(set(keys))
        assert {one["external_key"] for one in ledger["actions"]} == {
            f"{customer}-act" for customer in self.acted & self.credited
        }

    def _is_open(self) -> bool:
        counts = self.site.services.supervisor.summary().counts
        return any(counts.get(status) for status in ("pending", "waiting", "sending", "held"))

    def _expected(self) -> dict[str, int]:
        expected: dict[str, int] = {}
        for key, (customer, amount) in self.paid.items():
            if customer in self.credited and key not in self.undone:
                expected[key] = amount
                expected |= {part: -back for part, back in self.parts.get(key, {}).items()}
        return expected

    def teardown(self) -> None:
        self.all_is_well_in_the_end()
        self.site.close()
        shutil.rmtree(self.folder)


FromPaymentToBalance.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestFromPaymentToBalance = FromPaymentToBalance.TestCase
