"""`retry`, `discard` and `ack`: acts on many deliveries, chosen by options and shown first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from ..operations.acts import RETRY, meant, will_happen
from ..operations.causes import CAUSES, worded
from ..rules.delivery import Delivery
from ..rules.states import ALARMING, DISCARDABLE, RETRIABLE, Status
from ..services import Services
from ..store.outbox.ledger import Act, Wanted
from . import output
from .audit import note, why
from .context import DELIVERY_ID, KIND, TIMES, as_json, confirm, moment, prepared, utf8
from .output import what

#: How many are shown before it is asked whether to go on.
_SHOWN = 10
#: Option, and the field of `Wanted` that it sets.
_FIELDS = {
    "delivery_id": "delivery_id",
    "status": "status",
    "kind": "kind",
    "error": "detail",
    "cause": "worded",
    "partner": "partner",
    "customer": "customer",
    "since": "since",
    "until": "until",
    "network": "network",
}
_HELP = {"delivery_id": "id"}


def which(statuses: Sequence[str]) -> Callable[[Any], Any]:
    """Let a command say which deliveries, of those in `statuses`."""

    def options(command: Any) -> Any:
        for option in (
            click.option("--network", type=utf8, metavar="NAME", help="Only of this network."),
            click.option("--until", type=moment, metavar="TIME", help="Recorded before then."),
            click.option("--since", type=moment, metavar="TIME", help=f"Recorded since: {TIMES}."),
            click.option("--customer", type=utf8, metavar="KEY", help="Of this customer."),
            click.option("--partner", type=utf8, metavar="KEY", help="Credited to this partner."),
            click.option(
                "--cause",
                type=click.Choice([*CAUSES]),
                metavar="CODE",
                help="Of this cause: see `list`.",
            ),
            click.option(
                "--error",
                type=utf8,
                metavar="TEXT",
                help="With exactly this last word; '' for none.",
            ),
            click.option("--kind", type=KIND, help="Only of this kind."),
            click.option("--status", type=click.Choice(list(statuses)), metavar="STATUS"),
            click.option("--id", "delivery_id", type=DELIVERY_ID, metavar="ID"),
        ):
            command = option(command)
        return command

    return options


def wanted_of(services: Services, given: Mapping[str, Any]) -> Wanted:
    """Return what was asked for; it is an error to ask for everything there is."""
    if all(given[name] is None for name in _FIELDS):
        names = ", ".join(f"--{_HELP.get(name, name)}" for name in _FIELDS)
        raise click.UsageError(f"Say which: {names}.")
    network = given["network"]
    if network is not None and network not in services.networks:
        known = ", ".join(sorted(services.networks))
        raise click.BadParameter(f"no such network; there is: {known}", param_hint="--network")
    cause = given["cause"]
    meant = {**given, "cause": () if cause is None else worded(cause)}
    return Wanted(**{field: meant[name] for name, field in _FIELDS.items()})


def said_of(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what was asked for as the audit log keeps it: without the customer."""
    named = {_HELP.get(name, name): given[name] for name in _FIELDS if name != "customer"}
    return {name: str(value) for name, value in named.items() if value is not None}


def ask(
    services: Services, act: Act, wanted: Wanted, counted: Mapping[Any, int], question: str
) -> None:
    """Show what an act would change, by its sort, and the oldest of it, and ask: on standard error."""
    first = services.ledger.first(wanted, _SHOWN, act)
    count = sum(counted.values())
    sorts = [(*sort, str(number)) for sort, number in sorted(counted.items())]
    output.table(("status", "kind", "network", "deliveries"), sorts, coloured=0, err=True)
    click.echo(err=True)
    if count > len(first):
        click.echo(f"These are the first {len(first)} of {count}:", err=True)
    head = ("id", "status", "what", "customer", "recorded (UTC)", "last word")
    rows = [_row(delivery) for delivery in first]
    output.table(head, rows, coloured=1, err=True, cut=(2, 3, 5))
    if act == "retry":
        for sentence in will_happen(services, counted):
            click.echo(sentence, err=True)
    confirm(question.format(many(count)))


def many(count: int) -> str:
    """Return "1 delivery" or "2 deliveries"."""
    return f"{count} {'delivery' if count == 1 else 'deliveries'}"


def _row(delivery: Delivery) -> tuple[str, ...]:
    return (
        str(delivery.id),
        delivery.status.value,
        what(delivery),
        delivery.customer_key or "-",
        f"{delivery.created_at:%Y-%m-%d %H:%M}",
        delivery.detail or "-",
    )


_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command()
@which([*RETRIABLE, Status.UNATTRIBUTED.value])
@_YES
@why
@as_json
@prepared
def retry(services: Services, yes: bool, why: str | None, as_json: bool, **given: Any) -> None:
    """Send deliveries again, now, with a new deadline.

    Of what is unattributed, only that whose customer this site does not know: the network is asked
    for the customer again. Whoever has no click needs `flask s2s credit`.

    \b
    flask s2s retry --status refused --since 7d --why "the field is mapped now"
    flask s2s retry --partner ada --kind transaction
    """
    wanted = wanted_of(services, given)
    counted = services.ledger.retriable(wanted)
    if not counted:
        raise click.ClickException(_none(services, wanted))
    if not yes:
        ask(services, "retry", wanted, counted, "Send {} again?")
    customers, ids = meant(services, RETRY, wanted)
    sent = services.ledger.retry(wanted, services.clock.now(), services.settings.give_up)
    services.supervisor.wake()
    note(services, RETRY, why, customers, **said_of(given), ids=ids, deliveries=sent)
    if as_json:
        output.dump({"due": sent})
    else:
        click.echo(f"{sent} {'is' if sent == 1 else 'are'} due now.")


def _none(services: Services, wanted: Wanted) -> str:
    """Say why nothing is sent again; of one delivery, what it is."""
    one = wanted.delivery_id
    if one is None or wanted != Wanted(delivery_id=one):
        return "None of these can be sent again: see `flask s2s list`."
    found = services.ledger.get(one)
    if found is None:
        return f"There is no delivery {one}."
    status = found[0].status
    rest = "it goes out by itself" if status.open else "there is nothing to send"
    return f"Delivery {one} is {status}: {rest}."


@click.command()
@click.argument("reviewed", type=utf8, metavar="[CUSTOMER]", required=False)
@which(DISCARDABLE)
@_YES
@why
@as_json
@prepared
def discard(
    services: Services,
    reviewed: str | None,
    yes: bool,
    why: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Keep deliveries back for good, or let a sign-up that waits for review end.

    With options: what is not sent yet is never sent by itself; `flask s2s retry` still sends it.

    With CUSTOMER alone: nobody is credited for the sign-up that waits for review. What it would
    have sent is erased. If the customer signs up again it stays so; `flask s2s credit` still
    credits by hand.

    \b
    flask s2s discard 4711
    flask s2s discard --partner eve --status held --why "the contract has ended"
    """
    if reviewed is not None:
        _end_review(services, reviewed, yes, why)
        return
    wanted = wanted_of(services, given)
    counted = services.ledger.count("discard", wanted)
    if not counted:
        raise click.ClickException("None of these is still to be sent: see `flask s2s list`.")
    if not yes:
        ask(services, "discard", wanted, counted, "Never send {}?")
    customers, ids = meant(services, "discard", wanted)
    kept = services.ledger.discard_all(wanted, services.clock.now())
    note(services, "discard", why, customers, **said_of(given), ids=ids, deliveries=kept)
    if as_json:
        output.dump({"discarded": kept})
    else:
        click.echo(f"{many(kept)} discarded.")


def _end_review(services: Services, customer: str, yes: bool, why: str | None) -> None:
    reviewed = services.ledger.under_review(customer)
    if not reviewed:
        raise click.ClickException(f"No sign-up of customer {customer} waits for review.")
    if not yes:
        confirm(f"Discard the sign-up of customer {customer}?")
    now = services.clock.now()
    if not any([services.ledger.discard(one, now) for one in reviewed]):
        raise click.ClickException("Somebody else has decided meanwhile.")
    note(services, "discard", why, [customer])
    output.line(f"Customer {customer}: discarded.")


@click.command()
@which(ALARMING)
@_YES
@why
@as_json
@prepared
def ack(services: Services, yes: bool, why: str | None, as_json: bool, **given: Any) -> None:
    """Say that a failure is known: `status` is red for it no longer.

    Nothing else changes: it is still listed, and can still be sent again. What fails after this is
    red again.

    \b
    flask s2s ack --status invalid --why "the form is mended"
    flask s2s ack --status missing --since 2026-11-01 --until 2026-11-08
    """
    wanted = wanted_of(services, given)
    counted = services.ledger.count("ack", wanted)
    if not counted:
        raise click.ClickException("None of these is a failure that nobody has acknowledged.")
    if not yes:
        ask(services, "ack", wanted, counted, "Acknowledge {}?")
    known = services.ledger.acknowledge(wanted, services.clock.now())
    note(services, "ack", why, **said_of(given), deliveries=known)
    if as_json:
        output.dump({"acknowledged": known})
    else:
        click.echo(f"{many(known)} acknowledged.")
