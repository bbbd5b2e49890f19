"""`forget` and `export`: what a person may ask of a site that keeps something about them."""

from __future__ import annotations

import click

from ..delivery.dossier import Dossiers
from ..services import Services
from . import output
from .arguments import utf8
from .asking import confirm
from .context import as_json, prepared

_WORDS = {
    "emptied": "deliveries emptied (that they were delivered stays)",
    "withdrawn": "deliveries withdrawn before they were sent",
    "attempts": "attempts without what was sent and answered",
    "clicks": "clicks deleted",
    "bindings": "bindings of an e-mail address or a user's ID deleted",
    "handles": "used links deleted",
}


@click.command()
@click.argument("customer", type=utf8, metavar="CUSTOMER|EMAIL")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@prepared
def forget(services: Services, customer: str, yes: bool, as_json: bool) -> None:
    """Erase what is kept about a customer.

    It shows first what that is. A row that was delivered still keeps its customer from being sent
    twice. What the network has got stays there: ask it for that.
    """
    counts = _dossiers(services).read(customer).counts()
    if not any(counts.values()):
        raise click.ClickException("Nothing is kept about this customer.")
    if not yes:
        _print(counts, err=True)
        confirm("Forget all of this?")
    counts = _dossiers(services).forget(customer, services.clock.now())
    if as_json:
        output.dump(counts)
        return
    _print(counts)
    if counts["in_flight"]:
        click.echo(f"{counts['in_flight']} was being sent: the network may have it all the same.")


@click.command()
@click.argument("customer", type=utf8, metavar="CUSTOMER|EMAIL")
@click.option("--json", is_flag=True, expose_value=False, help="It is JSON without this too.")
@prepared
def export(services: Services, customer: str) -> None:
    """Print everything that is kept about a customer, as JSON."""
    dossier = _dossiers(services).read(customer)
    if not any(dossier.counts().values()):
        raise click.ClickException("Nothing is kept about this customer.")
    for row in dossier.deliveries:
        # The key of whoever is sending it, and nothing about anybody.
        del row["lease_token"]
        for attempt in row["attempts"]:
            del attempt["lease_token"]
    kept = ("deliveries", "clicks", "bindings", "handles")
    output.dump({name: getattr(dossier, name) for name in kept})


def _dossiers(services: Services) -> Dossiers:
    storage = services.storage
    return Dossiers(storage.engine, storage.tables, services.bindings, services.outbox.hashed)


def _print(counts: dict[str, int], *, err: bool = False) -> None:
    for name, words in _WORDS.items():
        click.echo(f"{counts[name]:>6}  {words}", err=err)
