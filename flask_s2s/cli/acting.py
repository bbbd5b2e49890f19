"""`credit` and `retry`: what an operator does by hand. Both show first what they will do."""

from __future__ import annotations

from datetime import datetime

import click

from ..click import Click, valid_click_id
from ..delivery.ledger import RETRIABLE, Wanted
from ..delivery.settlement import Delivery, Status
from ..services import Services
from ..tables import OPEN
from . import output
from .arguments import DELIVERY_ID, moment, utf8
from .asking import confirm
from .context import as_json, prepared
from .looking import described

#: How many are shown before it is asked whether to send them.
_SHOWN = 10


@click.command()
@click.argument("customer", type=utf8)
@click.option(
    "--click", "click_id", type=utf8, required=True, metavar="ID", help="The partner's click ID."
)
@as_json
@prepared
def credit(services: Services, customer: str, click_id: str, as_json: bool) -> None:
    """Credit a customer's sign-up to a click, by hand.

    Works for a customer who is unattributed or not recorded yet; whoever has a click keeps it.
    """
    if not valid_click_id(click_id):
        raise click.BadParameter("a click ID is letters, digits and . _ ~ -", param_hint="--click")
    found = services.touches.find(click_id)
    if found is None:
        click.echo("This site has not seen that click; the network will decide.", err=True)
        found = Click(click_id=click_id, at=services.clock.now())
    credited = services.credit(customer, found)
    if credited is None:
        raise click.ClickException(
            f"Customer {customer} has a delivery already: flask s2s explain {customer}"
        )
    if as_json:
        output.dump(described(credited))
    else:
        fate = (
            "is recorded, and not sent: S2S_DRY_RUN is on"
            if credited.status is Status.DRY_RUN
            else f"is {credited.status}"
        )
        output.line(f"Delivery {credited.id}: customer {customer}, click {click_id}, {fate}.")


@click.command()
@click.option("--id", "delivery_id", type=DELIVERY_ID, metavar="ID")
@click.option("--status", type=click.Choice([*RETRIABLE, Status.UNATTRIBUTED.value]))
@click.option("--since", type=moment, metavar="TIME", help="Recorded at or after this time (UTC).")
@click.option("--network", type=utf8, metavar="NAME", help="Only of this network.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@prepared
def retry(
    services: Services,
    delivery_id: int | None,
    status: str | None,
    since: datetime | None,
    network: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Send deliveries again, now, with a new deadline.

    Of what is unattributed, only that whose customer this site does not know: the network is asked
    for the customer again. Whoever has no click needs `flask s2s credit`.
    """
    if delivery_id is None and status is None and since is None and network is None:
        raise click.UsageError("Say which: --id, --status, --since or --network.")
    if network is not None and network not in services.networks:
        known = ", ".join(sorted(services.networks))
        raise click.BadParameter(f"no such network; there is: {known}", param_hint="--network")
    wanted = Wanted(delivery_id=delivery_id, status=status, since=since, network=network)
    chosen = services.ledger.retriable(wanted)
    if not chosen:
        raise click.ClickException(_none(services, wanted))
    if not yes:
        _preview(chosen, services.ledger.first(wanted, _SHOWN))
        count = sum(chosen.values())
        confirm(f"Send {count} {'delivery' if count == 1 else 'deliveries'} again?")
    sent = services.ledger.retry(wanted, services.clock.now(), services.settings.give_up)
    services.wake()
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
    rest = "it goes out by itself" if status.value in OPEN else "there is nothing to send"
    return f"Delivery {one} is {status}: {rest}."


def _preview(chosen: dict[tuple[str, str, str], int], first: list[Delivery]) -> None:
    """Show what would be sent, by its sort, and the oldest of it: on standard error."""
    count = sum(chosen.values())
    sorts = [(*sort, str(number)) for sort, number in sorted(chosen.items())]
    output.table(("status", "kind", "network", "deliveries"), sorts, coloured=0, err=True)
    click.echo(err=True)
    if count > len(first):
        click.echo(f"These are the first {len(first)} of {count}:", err=True)
    head = ("id", "status", "kind", "network", "customer", "recorded (UTC)", "last word")
    output.table(head, [_row(delivery) for delivery in first], coloured=1, err=True)


def _row(delivery: Delivery) -> tuple[str, ...]:
    return (
        str(delivery.id),
        delivery.status.value,
        delivery.kind,
        delivery.network,
        delivery.customer_key or "-",
        output.moment(delivery.created_at),
        delivery.detail or "-",
    )
