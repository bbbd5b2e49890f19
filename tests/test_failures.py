"""How conversions were lost, doubled or stolen elsewhere, and what forbids each of it here.

For each failure: the protections against it, and a test that goes red without one of them. That is
not believed but tried: in a copy of the package the protection is taken out, and the test is run on
it. A function that moves keeps its protections; where the code that protects is rewritten within it,
it is to be rewritten here too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutation import PACKAGE, Mutation

_TESTS = Path(__file__).parent
_ROOT = _TESTS.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection(Mutation):
    """Code that forbids a failure, what is left when it is taken out, and the test that sees it."""

    #: Below `tests/`.
    test: str


#: In our own words: what went wrong, then what forbids it.
FAILURES: dict[str, list[Protection]] = {
    "whatever asks for a partner's link is a click: a picture, a frame, a name that nobody filled in": [
        Protection(
            where="_is_forwarded",
            code='own = mode == "same-origin" == environ.get("HTTP_SEC_FETCH_SITE")',
            without="own = True",
            test="capture/test_visitors.py::test_nobody_makes_no_click",
        ),
        Protection(
            where="is_placeholder",
            code="return _WORD.match(wordless(value)) is not None or _TEMPLATE.match(value) is not None",
            without="return not wordless(value)",
            test="capture/test_damaged_urls.py::"
            "test_a_placeholder_is_no_click_is_counted_and_replaces_none[undefined]",
        ),
        Protection(
            where="_NAMED",
            code="(?(first):|(?!))",
            without=":",
            test="capture/test_damaged_urls.py::"
            "test_what_nobody_could_be_sure_of_is_left_alone[q=ps_xid: anFVmvcPPYWCsS]",
        ),
    ],
    "a report has a payment without its partner, because the payment was settled first": [
        Protection(
            where="pass_on",
            code="while by:",
            without="while False:",
            test="revenue/test_reported.py"
            "::test_what_was_settled_before_its_sign_up_was_known_has_the_partner_then[sqlite]",
        ),
    ],
    "what was dropped while the database was away is known to a log alone": [
        Protection(
            where="Losses.add",
            code="self._counted = taken",
            without="pass",
            test="recording/test_losses.py"
            "::test_what_could_not_be_added_is_kept_for_the_next_try_and_told_where_there_is_none",
        ),
        Protection(
            where="Losses._ask",
            code="if not self._later(adding):",
            without="if True:",
            test="recording/test_losses.py::test_processes_add_up[sqlite]",
        ),
    ],
    "a token that was made for one thing is good for another, or is told to others": [
        Protection(
            where="visitors_of",
            code=', purpose="state"',
            without="",
            test="hosts/test_state.py::test_a_state_is_no_token_of_an_address",
        ),
        Protection(
            where="Reply._headers",
            code="if self._has_token:",
            without="if False:",
            test="carrying/test_carrying.py::test_no_collector_of_reports_is_told_a_token",
        ),
    ],
    "the next person gets the key of one who left, and counts as known": [
        Protection(
            where="Writer._is_somebody_elses",
            code="return bool(person) and person != draft.person",
            without="return False",
            test="revenue/test_reused_keys.py::test_the_next_persons_click_is_kept_and_told[sqlite]",
        ),
    ],
    "money that came back is kept from the partner, or a webhook that comes twice pays what was paid back": [
        Protection(
            where="_standing",
            code="undone is not None and (at is None or",
            without="undone is not None and (False and",
            test="revenue/test_coming_back.py::test_it_is_reported_again_once[sqlite-undone by then]",
        ),
        Protection(
            where="_standing",
            code="(at is None or at > undone)",
            without="True",
            test="revenue/test_coming_back.py::test_a_report_of_before_it_was_undone_is_a_repeat[sqlite]",
        ),
        Protection(
            where="_standing",
            code="at >= back if back else at > (undone_at(key) or 0)",
            without="True",
            test="revenue/test_coming_back.py"
            "::test_a_refund_of_before_it_came_back_is_a_repeat[sqlite-of a time]",
        ),
        Protection(
            where="happened_at",
            code="own is None or own == _milliseconds(row)",
            without="own is None",
            test="revenue/test_coming_back.py"
            "::test_another_refund_is_none_of_before_though_its_payments_webhook_was_late[sqlite]",
        ),
        Protection(
            where="undone_at",
            code="later = (rows.c.id > paid.c.id, ",
            without="later = (",
            test="revenue/test_coming_back.py::"
            "test_a_refund_that_came_before_its_payment_undoes_every_report_of_it[sqlite]",
        ),
    ],
    "a customer whose key has changed is another one to the network, and their payments are nobody's": [
        Protection(
            where="_sendable",
            code='row["known_as"] is not None',
            without="False",
            test="revenue/test_renaming.py::"
            "test_a_payment_under_the_new_key_is_the_customers_that_the_network_knows[sqlite]",
        ),
        Protection(
            where="is_of_the_same",
            code="conversion.customer_key in there.customer_keys",
            without="False",
            test="revenue/test_renaming.py::"
            "test_a_webhook_that_comes_again_is_the_same_payment_under_either_key[sqlite]",
        ),
    ],
    "a mark of having done it outlives what was undone, and the customer who comes again is turned "
    "away as known": [
        Protection(
            where="Status.replaceable",
            code="return self in (Status.UNATTRIBUTED, Status.WITHDRAWN)",
            without="return self is Status.UNATTRIBUTED",
            test="delivery/test_leases.py::test_a_withdrawn_customer_who_comes_again_is_sent[sqlite]",
        ),
    ],
    "what was promised to be kept is in memory only, and a killed process takes it along": [
        Protection(
            where="_before_commit",
            code="    waiting, joined.waiting = joined.waiting, []\n    for",
            without="    waiting = list[_Ticket]()\n    for",
            test="recording/test_matrix.py::test_killed_right_after_the_commit"
            "[flask-sqlalchemy-signal-commit after told]",
        ),
        Protection(
            where="_own_settings",
            code="PRAGMA synchronous=FULL",
            without="PRAGMA synchronous=OFF",
            test="chaos/test_power_cut.py"
            "::test_a_committed_conversion_survives_a_power_cut_at_any_moment",
        ),
    ],
    "a server forks after the app was made, and its workers share connections or send nothing": [
        Protection(
            where="Storage._shared",
            code="        if self._pid != pid:\n            self._let_go(self._engine)\n",
            without="",
            test="servers/test_forks.py"
            "::test_a_connection_that_only_the_host_used_at_import_is_not_used_either",
        ),
        Protection(
            where="EmbeddedWorker.alive",
            code="return self._pid == os.getpid() and ended",
            without="return ended",
            test="servers/test_forks.py"
            "::test_a_child_has_its_parents_worker_neither_alive_nor_in_reach",
        ),
        Protection(
            where="Touches._make_writer",
            code="self._quota = Quota(self._rows, self._quota.most)",
            without="pass",
            test="servers/test_forks.py"
            "::test_a_child_stores_clicks_though_its_parent_was_counting_them",
        ),
    ],
    "what a worker held when it died is never taken up, or is ended twice when it comes back": [
        Protection(
            where="longest_pause",
            code="min(lease.total_seconds() / 6, 30.0)",
            without="30.0",
            test="delivery/test_worker.py"
            "::test_a_database_that_is_back_waits_for_no_worker_longer_than_a_lease_allows",
        ),
        Protection(
            where="_due",
            code="where(rows.c.due_at <= _NOW)",
            without='where(rows.c.due_at <= _NOW, rows.c.status != "sending")',
            test="delivery/test_leases.py"
            "::test_an_expired_lease_is_claimed_again_and_the_stale_settle_changes_nothing[sqlite]",
        ),
        Protection(
            where="_fence",
            code="(rows.c.id == held.id, rows.c.lease_token == held.lease_token)",
            without="(rows.c.id == held.id, rows.c.id == held.id)",
            test="delivery/test_leases.py"
            "::test_an_expired_lease_is_claimed_again_and_the_stale_settle_changes_nothing[sqlite]",
        ),
    ],
    "what waits for a network that is away is given up too soon, or cleaned away by its age": [
        Protection(
            where="deadline",
            code="return last if click_at is None else max(last, click_at + window)",
            without="return converted_at + timedelta(days=1)",
            test="delivery/test_outage.py"
            "::test_a_week_s_outage_loses_nothing_and_is_over_by_itself[503]",
        ),
        Protection(
            where="Retention._old",
            code="        rows.c.status.in_(statuses),\n        rows.c.settled_at < before,\n",
            without="        rows.c.created_at < before,\n",
            test="operations/test_prune.py::test_what_has_work_left_is_never_touched",
        ),
    ],
    "what was sent passes for unsent, and a payment goes out again and again": [
        Protection(
            where="_Connection.send",
            code="        _wire.written = _wire.written or not self._connecting\n",
            without="",
            test="networks/test_transport.py::test_a_broken_answer_may_have_arrived[two lengths]",
        ),
        Protection(
            where="_Answer._read_status",
            code="        if not 100 <= status < 200:\n",
            without="        if status != 100:\n",
            test="networks/test_transport.py::test_a_1xx_is_no_answer[103 Early Hints]",
        ),
    ],
    "who was forgotten, or withdrew, is back with what a page had left to be written later": [
        Protection(
            where="PersonalRecords.forget",
            code="self._erasing.note(connection, now)",
            without="pass",
            test="privacy/test_late_rows.py::"
            "test_the_first_landing_of_a_fresh_site_does_not_come_back_after_forget",
        ),
        Protection(
            where="Withdrawals._once",
            code="if clicks:",
            without="if False:",
            test="privacy/test_late_rows.py::"
            "test_the_first_landing_of_a_fresh_site_does_not_come_back_after_a_withdrawal[alone]",
        ),
        Protection(
            where="Withdrawals.again",
            code="if clicks:",
            without="if False:",
            test="privacy/test_late_rows.py::"
            "test_the_first_landing_of_a_fresh_site_does_not_come_back_after_a_withdrawal[session]",
        ),
    ],
    "a network's echo puts a secret or a person into a row or a log": [
        Protection(
            where="Redaction.answer",
            code="self(text, KEPT_ANSWER)",
            without="text[:KEPT_ANSWER]",
            test="networks/test_redaction.py::test_nothing_that_is_echoed_is_kept_or_logged[500]",
        ),
        Protection(
            where="_tell_broken",
            code="redacted(traceback.format_exc(), _LONGEST_TRACEBACK)",
            without="traceback.format_exc()",
            test="networks/test_redaction.py::test_nothing_that_is_echoed_is_kept_or_logged[None]",
        ),
        Protection(
            where="text_of",
            code="_OR_LATIN",
            without='"replace"',
            test="networks/test_redaction.py"
            "::test_an_answer_in_another_encoding_shows_no_more[latin-1]",
        ),
        Protection(
            where="OwnHostOnly.send",
            code="if self.credentials.leaving(request):",
            without="if False:",
            test="networks/test_own_host.py"
            "::test_a_request_that_carries_a_credential_elsewhere_is_not_sent[in the body]",
        ),
    ],
    "a second network is told of the first one's customers, or given what opens the first": [
        Protection(
            where="Writer._known",
            code="if explicit or not self._routes or conversion.parent is None:",
            without="if True:",
            test="networks/test_two_networks.py"
            "::test_sign_ups_and_payments_go_to_the_network_of_the_click[sqlite]",
        ),
        Protection(
            where="keys",
            code="if one.key in found or one.key in _KEYS:",
            without="if False:",
            test="networks/test_two_networks.py::test_a_network_cannot_declare_another_s_key",
        ),
        Protection(
            where="by_name",
            code='if not lane.startswith(f"{name}/"):',
            without="if False:",
            test="networks/test_two_networks.py::test_a_network_cannot_have_another_s_lane",
        ),
        Protection(
            where="_shown",
            code='request.url.partition("?")',
            without='(request.url, "", "")',
            test="networks/test_two_networks.py"
            "::test_no_secret_reaches_the_other_s_host_or_a_row[sqlite]",
        ),
    ],
    "a field that nobody needs costs the credit": [
        Protection(
            where="Cleaning.prose",
            code="        clean = clean[:limit]\n",
            without="",
            test="recording/test_optional_fields.py"
            "::test_the_sign_up_is_sent_with_what_can_be_sent[True-2-name]",
        ),
    ],
    "an answer is taken for a success that is none": [
        Protection(
            where="read_success",
            code="    if denied is not None:\n",
            without="    if False:\n",
            test='networks/test_readers.py::test_a_200_whose_body_says_no_is_not_accepted[{"ok": false}]',
        ),
        Protection(
            where="read_success",
            code='_unread("something that is not JSON")',
            without='Accepted(detail="")',
            test="delivery/test_answers.py"
            "::test_what_is_no_success_is_never_taken_for_one[a page with 200]",
        ),
        Protection(
            where="PartnerStack.outcome",
            code="if 200 <= status < 300:\n        return read",
            without="if 200 <= status < 400:\n        return read",
            test="delivery/test_answers.py"
            "::test_what_is_no_success_is_never_taken_for_one[moved for good]",
        ),
        Protection(
            where="judge",
            code="            return _absent(delivery, now, passed, repeatable)",
            without='            return Confirmed(detail="accepted")',
            test="verification/test_verifying.py"
            "::test_what_is_absent_twice_is_sent_again_and_confirmed[sqlite]",
        ),
        Protection(
            where="TRAITS",
            code='verified_by="list"',
            without="verified_by=None",
            test="verification/test_payments.py"
            "::test_what_the_network_never_recorded_is_missing_and_an_alarm[sqlite-conversion0]",
        ),
    ],
    "a payment that was accepted is never heard of again, or waits for weeks without a word": [
        Protection(
            where="Verifier._judge",
            code="undoing=self._verification_queue.undoing(delivery) if absent else Undoing.NONE",
            without="undoing=Undoing.NONE",
            test="verification/test_payments.py"
            "::test_a_payment_that_was_undone_before_it_was_looked_for_is_not_missed[sqlite]",
        ),
        Protection(
            where="decide",
            code='        return Ask(f"waits for the record of {name}", since, parent)\n',
            without='        return Wait(f"waits for the record of {name}", parent.verify_at)\n',
            test="revenue/test_ordering.py"
            "::test_a_payment_goes_as_soon_as_its_accepted_sign_up_can_be_read[sqlite]",
        ),
        Protection(
            where="Executor._ask_for_customer",
            code="    if since >= PROOF:\n        return None\n",
            without="    if since >= PROOF:\n        return Later(now + PROOF, '', ask.parent)\n",
            test="revenue/test_ordering.py"
            "::test_what_cannot_be_confirmed_keeps_the_payment_behind_it_for_hours_and_not_for_weeks"
            "[403]",
        ),
        Protection(
            where="unread",
            code="    if not found.accepted and not found.waiting:\n",
            without="    if True:\n",
            test="verification/test_payments.py"
            "::test_reading_that_fails_is_an_error_within_the_hour[403]",
        ),
    ],
    "a clock that was wrong for some seconds gives up what waits, doubles it, or puts it off": [
        Protection(
            where="Verifier._judge",
            code="due=due and self._has_lasted(delivery, now),",
            without="due=due,",
            test="verification/test_clocks.py"
            "::test_a_payment_is_not_missing_because_a_clock_was_ahead",
        ),
        Protection(
            where="_unknown",
            code="if delivery.deadline_at <= passed or reading.lasting:",
            without="if delivery.deadline_at <= now or reading.lasting:",
            test="verification/test_clocks.py"
            "::test_a_sign_up_is_not_given_up_because_a_clock_was_ahead",
        ),
        Protection(
            where="Executor._judged",
            code="return None if since >= after else Later",
            without="return None if True else Later",
            test="verification/test_clocks.py"
            "::test_a_payment_is_not_repeated_because_a_clock_was_ahead",
        ),
        Protection(
            where="Supervisor._reader",
            code="sending = (self._heard, self._transport.credentials)",
            without="sending = (self._transport, self._transport.credentials)",
            test="verification/test_clocks.py"
            "::test_a_process_that_just_began_asks_the_network_for_the_time",
        ),
        Protection(
            where="undelivered",
            code="    if summary.put_off:\n",
            without="    if False:\n",
            test="verification/test_clocks.py"
            "::test_status_and_check_tell_of_what_a_clock_has_put_off[sqlite-due_at]",
        ),
        Protection(
            where="Housekeeping.__call__",
            code="if jumped is not None and now < jumped + self._hold:",
            without="if False:",
            test="delivery/test_clocks.py::test_no_lease_runs_out_because_a_clock_jumped[sqlite]",
        ),
        Protection(
            where="Evidence._presented",
            code="self.kept(environ, now, self._shut(now))",
            without="self.kept(environ, now)",
            test="attribution/test_clocks.py::test_a_cookie_counts_while_a_clock_is_ahead",
        ),
        Protection(
            where="Decision._without_click",
            code="self._shut(now)",
            without="now",
            test="attribution/test_clocks.py::test_a_bound_address_counts_while_a_clock_is_ahead",
        ),
        Protection(
            where="RecordSigner.read",
            code="return replace(kept, click=replace(click, at=now))",
            without='return Unreadable("bad_signature")',
            test="attribution/test_clocks.py"
            "::test_a_click_of_a_clock_that_was_ahead_counts_from_now",
        ),
        Protection(
            where="CommonTime.learn",
            code="self._witness.told = EPOCH + timedelta(microseconds=int(told))",
            without="pass",
            test="attribution/test_clocks.py"
            "::test_a_process_that_lives_for_seconds_is_told_how_late_it_is",
        ),
        Protection(
            where="Supervisor._alive",
            code="self.witness.passed(now)",
            without="now",
            test="attribution/test_clocks.py"
            "::test_nothing_is_deleted_by_a_clock_that_is_ahead_for_seconds",
        ),
    ],
    "a later visit takes a partner's click away, or one that is no visit makes one": [
        Protection(
            where="winner",
            code="(kept.network, kept.click_id) == (new.network, new.click_id)",
            without="False",
            test="capture/test_attribution.py::test_the_signal_tells_new_clicks_only",
        ),
        Protection(
            where="ignored_because",
            code='if environ.get("REQUEST_METHOD") != "GET":',
            without="if False:",
            test="capture/test_visitors.py::test_nobody_makes_no_click",
        ),
    ],
    "the first visitors of a fresh site leave no trace, because its file has no tables yet": [
        Protection(
            where="Touches.remember",
            code="    if late is None and self._keep(touch):\n",
            without="    if False:\n",
            test="capture/test_first_landing.py"
            "::test_the_first_landings_of_a_fresh_site_are_stored[external]",
        ),
    ],
    "a cache hands one visitor's cookie to all of them, or a redirect loses the click": [
        Protection(
            where="for_one_visitor",
            code='"private, no-store"',
            without='"public"',
            test="capture/test_shared_cache.py::test_a_shared_cache_hands_nobody_anothers_click",
        ),
        Protection(
            where="S2SMiddleware._look",
            code="if visit is None:",
            without='if visit is None or not environ["PATH_INFO"].endswith("/"):',
            test="capture/test_shared_cache.py"
            "::test_a_redirect_that_drops_the_parameter_drops_no_click[a trailing slash]",
        ),
    ],
    "one customer or one payment counts twice": [
        Protection(
            where="_leasing",
            code="(rows.c.due_at, _UNTIL)",
            without="(rows.c.due_at, rows.c.due_at)",
            test="delivery/test_leases.py"
            "::test_a_claim_leases_the_row_and_opens_the_attempt[sqlite]",
        ),
        Protection(
            where="Executor._judged",
            code="if written is None or exchange",
            without="if True or exchange",
            test="revenue/test_ambiguity.py"
            "::test_what_arrived_without_an_answer_is_found_and_not_repeated"
            "[timeout_after_write-payment]",
        ),
        Protection(
            where="_leasing",
            code="null()), else_=rows.c.read_to",
            without="rows.c.read_to), else_=rows.c.read_to",
            test="revenue/test_long_lists.py"
            "::test_what_arrived_after_a_look_that_was_cut_short_is_not_overlooked",
        ),
        Protection(
            where="Memory.forgot",
            code="if not there:",
            without="if False:",
            test="verification/test_restores.py"
            "::test_a_running_worker_notices_that_its_database_forgot[sqlite-1]",
        ),
        Protection(
            where="Memory.forgot",
            code="if newest is not None:",
            without="if False:",
            test="verification/test_restores.py"
            "::test_a_worker_that_sent_none_of_it_notices_what_another_sent[sqlite]",
        ),
        Protection(
            where="Memory.meet",
            code="self._doubtful = True",
            without="pass",
            test="verification/test_restores.py"
            "::test_a_worker_that_was_led_to_another_server_looks_before_it_claims[sqlite]",
        ),
        Protection(
            where="ours",
            code="{} if suits else",
            without="{} if True else",
            test="delivery/test_levels.py"
            "::test_what_a_settle_writes_stands_or_falls_together[sqlite]",
        ),
        Protection(
            where="_Way._build",
            code="leasing.where(these, rows.c.due_at <= _NOW)",
            without="leasing.where(these)",
            test="delivery/test_levels.py"
            "::test_a_driver_that_commits_each_statement_claims_nothing_twice",
        ),
    ],
    "a worker waits for a row that a host holds, and the database ends the host's page": [
        Protection(
            where="_Way._build",
            code="by_key(leasing.where(these, rows.c.due_at <= _NOW), rows)",
            without="leasing.where(these, rows.c.due_at <= _NOW)",
            test="delivery/test_held_rows.py"
            "::test_a_claim_waits_for_no_row_that_a_host_holds[mariadb]",
        ),
    ],
    "a locked or dead database holds a page that only wanted to tell it something": [
        Protection(
            where="Identifying.identify.bind",
            code="bound = background.patiently(writing, ready=ready, late=_tell_late)",
            without="bound = write()",
            test="recording/test_waits_beside.py"
            "::test_identify_leaves_a_locked_table_and_binds_when_it_is_free[sqlite]",
        ),
        Protection(
            where="Withdrawals.now",
            code="    erased = self._background.patiently(\n",
            without="    return self._alone(clicks)\n    erased = self._background.patiently(\n",
            test="recording/test_waits_beside.py"
            "::test_withdraw_leaves_a_locked_table_and_erases_when_it_is_free[sqlite]",
        ),
        Protection(
            where="ArmedView._end",
            code="held = recorder.background.patiently(writing, late=still_armed)",
            without="held = end()",
            test="recording/test_waits_beside.py"
            "::test_a_view_leaves_a_locked_row_which_is_released_or_withdrawn_when_it_is_free"
            "[sqlite-good]",
        ),
    ],
    "under gevent a driver that waits for its database holds every page, or a process never ends well": [
        Protection(
            where="_RealThreads._told",
            code="thread.leave()",
            without="pass",
            test="servers/test_gevent.py::test_a_process_ends_whose_last_write_waits_for_ever",
        ),
        Protection(
            where="_RealThreads._run",
            code="hub.destroy(destroy_loop=True)",
            without="pass",
            test="servers/test_gevent.py::test_threads_that_ended_hold_no_files",
        ),
        Protection(
            where="start",
            code="if monkey is not None:",
            without="if False:",
            test="servers/test_gevent.py::test_a_driver_that_waits_holds_no_page[a denial]",
        ),
        Protection(
            where="Touches._make_writer",
            code='threads.InThread[Touch]("s2s-click", lambda touch: self._insert(self._storage.engine(), touch))',
            without="lambda touch: self._insert(engine, touch)",
            test="servers/test_gevent.py::test_a_driver_that_waits_holds_no_page[a landing]",
        ),
    ],
    "ten thousand payments are ten thousand reads of one list": [
        Protection(
            where="Verifier._look_at_some",
            code="claimed += claim(limit=_LISTED, now=now, lease=_LEASE, like=listed)",
            without="pass",
            test="verification/test_payments.py::test_one_read_of_a_list_does_for_many[sqlite]",
        ),
    ],
    "a test's rollback is taken for a database that forgot, and the next test's payments wait": [
        Protection(
            where="Memory.forgot",
            code="if self._storage.is_lent(): return False",
            without="pass",
            test="recording/test_binds.py"
            "::test_what_one_test_rolled_back_is_nothing_that_the_next_one_has_lost[sqlite]",
        ),
        Protection(
            where="Memory.keep",
            code="if self._storage.is_lent(): return",
            without="pass",
            test="recording/test_binds.py"
            "::test_what_one_test_rolled_back_is_nothing_that_the_next_one_has_lost[sqlite]",
        ),
    ],
    "a backup that was restored without a word has its payments posted again": [
        Protection(
            where="Settling.settle",
            code="self._memory.miss(lost.id, lost.attempts, lost.lease_token, now)",
            without="pass",
            test="verification/test_restores.py"
            "::test_a_backup_that_is_restored_while_the_first_payment_goes_out_is_noticed[sqlite]",
        ),
        Protection(
            where="Memory._is_there",
            code="connection.scalar(this) is not None or connection.scalar(emptied) is not None",
            without="connection.scalar(this) is not None",
            test="verification/test_restores.py"
            "::test_who_is_forgotten_while_a_payment_goes_out_is_no_restore[sqlite]",
        ),
        Protection(
            where="Worker._claim",
            code="batch and self._memory.doubts and",
            without="False and",
            test="verification/test_restores.py"
            "::test_a_worker_that_was_led_to_another_server_looks_before_it_claims[sqlite]",
        ),
        Protection(
            where="Inherited.gather",
            code="Look(some))",
            without="None)",
            test="verification/test_restores.py"
            "::test_a_process_that_starts_on_a_backup_and_is_not_told_looks_first[sqlite]",
        ),
    ],
    "what is done beside delivering stops it, or takes more than it should": [
        Protection(
            where="_try_rested",
            code="if since is None or",
            without="if True or",
            test="delivery/test_useless_connections.py"
            "::test_a_connection_that_the_server_ended_while_it_rested_is_replaced[postgresql]",
        ),
        Protection(
            where="Storage.read",
            code="return write(self.engine(), look, whole)",
            without="with whole(self.engine()) as connection:\n            return look(connection)",
            test="delivery/test_useless_connections.py"
            "::test_what_was_claimed_is_left_with_nobody_when_its_connection_ends_right_then"
            "[postgresql-a drain]",
        ),
        Protection(
            where="Housekeeping.__call__",
            code="_try(lambda: self._on_alive(now, throttle))",
            without="self._on_alive(now, throttle)",
            test="delivery/test_worker.py"
            "::test_a_drain_goes_on_where_the_database_refuses_what_is_done_now_and_then"
            "[UPDATE s2s_meta]",
        ),
        Protection(
            where="Supervisor.start",
            code="self._suspended or self.embedded.ensure()",
            without="self.embedded.ensure()",
            test="servers/test_frozen.py"
            "::test_without_threads_it_says_once_what_to_do_and_starts_none",
        ),
        Protection(
            where="Bindings.sweep",
            code="and_(rows.c.id.in_(some), old)",
            without="rows.c.id.in_(some)",
            test="attribution/test_collecting.py"
            "::test_a_binding_that_is_renewed_while_old_ones_are_deleted_stays[mariadb]",
        ),
        Protection(
            where="Storage._create",
            code="connection, defining(connection):",
            without="connection:",
            test="delivery/test_storage_at_start.py"
            "::test_several_may_make_the_tables_in_one_moment[postgresql]",
        ),
    ],
    "a page says what is not so, or acts for somebody who did not ask": [
        Protection(
            where="Forms.read",
            code="or brought[:1] != [purpose]",
            without="",
            test="dashboard/test_asking.py"
            "::test_a_notice_is_of_what_was_done_and_told_to_who_did_it",
        ),
        Protection(
            where="Forms.facts",
            code="if not is_from_here(request):",
            without="if False:",
            test="dashboard/test_access.py"
            "::test_a_form_of_another_site_or_of_another_person_changes_nothing",
        ),
        Protection(
            where="Frame.on_usage",
            code='and "POST" not in (rule.methods or ())',
            without="",
            test="dashboard/test_filters.py"
            "::test_a_page_that_cannot_be_leads_to_itself_without_what_is_wrong"
            "[act]",
        ),
        Protection(
            where="Conversions._may_ask",
            code="status.unconfirmed and",
            without="",
            test="dashboard/test_asking.py::test_what_is_on_record_is_confirmed_at_once",
        ),
        Protection(
            where="VerificationQueue._choosing",
            code="[rows.c.id == chosen.delivery, rows.c.status.in_(SENT)]",
            without="[rows.c.id == chosen.delivery]",
            test="dashboard/test_asking.py::test_only_what_the_network_accepted_is_asked_for",
        ),
        Protection(
            where="Audit.newest",
            code="listed = self._listed().where(or_(rows.c.subject == NOBODY, ~exists().where(*same)))",
            without="listed = self._listed()",
            test="dashboard/test_progress.py::test_an_act_on_many_is_one_line[sqlite]",
        ),
        Protection(
            where="progress",
            code="0 if status in OPEN else number",
            without="number",
            test="dashboard/test_progress.py"
            "::test_sending_again_leads_to_a_page_that_tells_how_far_it_is",
        ),
        Protection(
            where="Queries._matching",
            code="(rows.c.lane, wanted.lane),",
            without="",
            test="dashboard/test_filters.py::test_each_database_narrows_alike[sqlite]",
        ),
        Protection(
            where="Queries._matching",
            code="found.append(rows.c.amount >= wanted.least)",
            without="pass",
            test="dashboard/test_filters.py::test_each_database_narrows_alike[sqlite]",
        ),
        Protection(
            where="Queries._narrowed",
            code="return reading_by(found, self._rows, REPORT_INDEX)",
            without="return found",
            test="dashboard/test_scale.py"
            "::test_a_filter_that_no_index_has_reads_the_rows_of_the_period"
            "[mariadb-conversions, of a lane]",
        ),
        Protection(
            where="Model.unpaid",
            code="if seen is None or self.now - seen > TEST_ALARM:",
            without="if True:",
            test="dashboard/test_words.py"
            "::test_a_live_network_has_a_bar_where_its_record_says_test[True]",
        ),
        Protection(
            where="Days.runs",
            code="if place < len(self.starts) and edges[place + 1] - edges[place] == length:",
            without="if place < len(self.starts):",
            test="dashboard/test_zone.py::test_each_hour_is_on_one_day_where_the_clocks_change"
            "[sqlite-Europe/Berlin-2026-03-29-23]",
        ),
        Protection(
            where="Lane.fails",
            code="return long and (not known_to_work or self.tried >= _MANY)",
            without="return False",
            test="dashboard/test_words.py::test_a_lane_that_fails_is_no_open_one",
        ),
    ],
    "one row that cannot be sent, or one slow network, stops all the others": [
        Protection(
            where="_sendable",
            code="(InvalidConversion, LookupError, TypeError, ValueError, OverflowError)",
            without="ZeroDivisionError",
            test="delivery/test_worker.py"
            "::test_a_row_that_cannot_be_read_hurts_no_other[no customer]",
        ),
        Protection(
            where="_Answer.__init__",
            code="    self.fp.close()\n    self.fp = _Lines(_HurriedFile(sock))\n",
            without="",
            test="networks/test_transport.py::test_a_byte_now_and_then_does_not_buy_more_time[]",
        ),
        Protection(
            where="_Look.unknown",
            code="cursor=self._sure)",
            without="cursor=None)",
            test="revenue/test_long_lists.py"
            "::test_what_arrived_is_found_behind_thousands_of_others[payment]",
        ),
        Protection(
            where="FailureRule.trips",
            code="if works and tries > 1:",
            without="if False:",
            test="delivery/test_poison.py"
            "::test_what_failed_before_says_nothing_while_others_are_answered",
        ),
        Protection(
            where="Claims.probe",
            code="key=lambda one: (one.attempts, -one.id)",
            without="key=lambda one: one.id",
            test="delivery/test_poison.py"
            "::test_a_paused_lane_is_probed_with_what_was_tried_least[sqlite]",
        ),
    ],
}
#: What a protection lets happen never happens without it: that is waited for no minute.
_SOON = {"S2S_TEST_PATIENCE": "20"}
#: One protection of each failure; all of them with `S2S_TEST_ALL=1`.
CHOSEN = [
    pytest.param(one, id=f"{one.where}-{one.test.partition('::test_')[2][:40]}")
    for protections in FAILURES.values()
    for number, one in enumerate(protections)
    if number == 0 or os.environ.get("S2S_TEST_ALL")
]


def test_each_failure_has_a_protection_whose_code_and_test_are_there() -> None:
    for failure, protections in FAILURES.items():
        assert protections, failure
        for one in protections:
            file, text = one.made()
            assert text != (PACKAGE / file).read_text(encoding="utf-8"), failure
            module, name = one.test.partition("[")[0].split("::")
            assert f"def {name}(" in (_TESTS / module).read_text(encoding="utf-8"), one.test


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and its tests; Python compiles it for the first test, and keeps that."""
    folder = tmp_path_factory.mktemp("copy")
    unneeded = shutil.ignore_patterns("__pycache__")
    for tree in (PACKAGE, _TESTS, _ROOT / "example_app"):
        shutil.copytree(tree, folder / tree.name, ignore=unneeded)
    shutil.copy(_ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("protection", CHOSEN)
def test_without_its_protection_a_test_goes_red(
    protection: Protection, copy: Path, tmp_path: Path
) -> None:
    file, without = protection.made()
    # Hypothesis's own plugin alone would take half of what it costs to begin.
    without_plugins = [f"-pno:{one}" for one in ("cacheprovider", "xdist", "hypothesispytest")]
    run = [sys.executable, "-m", "pytest", "-q", *without_plugins]
    (copy / PACKAGE.name / file).write_text(without, encoding="utf-8")
    try:
        done = subprocess.run(
            [*run, f"--basetemp={tmp_path / 'inner'}", f"tests/{protection.test}"],
            # The copy goes first, whatever the path says.
            env={**os.environ, "PYTHONPATH": str(copy), "PYTEST_ADDOPTS": "", **_SOON},
            cwd=copy,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        shutil.copy2(PACKAGE / file, copy / PACKAGE.name / file)
    ending = done.stdout.splitlines()[-1].split(",")[0].split(" in ")[0]
    if ending == "1 skipped":
        pytest.skip(re.findall(r"^SKIPPED .*?(needs .*)$", done.stdout, re.MULTILINE)[-1])
    # An error would be the test's own, such as a name that is gone.
    assert (done.returncode, ending) == (1, "1 failed"), done.stdout + done.stderr
