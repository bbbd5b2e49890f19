"""Our records against the network's, both ways: what is on one side only, and what is not alike.

A record of theirs is ours if it has the key that makes one of our conversions itself, by the hash
that also finds a row which was emptied or whose customer was forgotten. What a record does not show
is not compared. Their list is read first: what is accepted while it is read is under way, and so is
what was accepted so lately that the list need not have it yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from enum import Enum

from ..conversion import Action, Reversal, Signup, Transaction
from ..conversion.money import major_units
from ..networks.reading import GRACE, Reader, Record, Unknown
from ..rules.delivery import Delivery
from ..rules.states import SENT, Status
from ..services import Services
from ..store.queries import Queries, Wanted
from .words import STATUS_WORDS, reason_word

#: What can be listed at a network.
KINDS = (Signup.kind, Transaction.kind, Action.kind)
#: How far their clock may be off ours, as where its records are asked for.
_CLOCKS_APART = timedelta(hours=1)
_PAGE = 1000
#: What the network may have. Nothing else is read of ours: most visitors of a site came by no partner.
TOLD = tuple(status.value for status in Status if not status.unsent)
#: The act by which somebody takes a difference off.
EXPLAINED = "explained"


class Side(str, Enum):
    """The place of a difference: on one side, or in both sides' records."""

    HERE = "only_here"
    THERE = "only_there"
    UNLIKE = "not_alike"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One conversion that the two sides do not have alike."""

    side: Side
    kind: str
    #: Our number of it; None where it is not here.
    delivery_id: int | None = None
    status: str | None = None
    #: The network's own key of its record.
    record_id: str | None = None
    customer_key: str | None = None
    key: str | None = None
    partner_key: str | None = None
    amount: int | None = None
    currency: str | None = None
    #: When it was recorded here, else when it was created there.
    at: datetime | None = None
    #: What differs (partner, amount, state, test): how it is here, and how it is there.
    differs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    #: What it most likely is.
    likely: str = ""
    #: A keyed hash by which it is known again.
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of one comparison with a network's records."""

    network: str
    since: datetime
    at: datetime
    #: On both sides, and alike in all that both show.
    alike: int
    #: Accepted here, and not to be in their list yet.
    under_way: int
    #: In their list, and here still to be settled.
    under_way_there: int
    differences: tuple[Difference, ...]
    #: Those that somebody has explained: they count on their side, and are no difference any more.
    explained: tuple[Difference, ...] = ()
    #: What could not be read: kind -> why.
    unread: Mapping[str, str] = field(default_factory=dict)

    def count(self, side: Side) -> int:
        """Return how many differences are of a sort."""
        return sum(one.side is side for one in self.differences)

    @property
    def ours(self) -> int:
        """How many were accepted here, and are not undone."""
        here = sum(one.side is not Side.THERE for one in (*self.differences, *self.explained))
        return self.alike + here + self.under_way

    @property
    def theirs(self) -> int:
        """How many are on their record."""
        there = sum(one.side is not Side.HERE for one in (*self.differences, *self.explained))
        return self.alike + there + self.under_way_there


@dataclass(slots=True)
class _Tally:
    now: datetime
    production: bool
    #: Hashes of the transactions that were undone here, and when.
    undone: Mapping[str, datetime]
    differences: list[Difference] = field(default_factory=list)
    alike: int = 0
    under_way: int = 0
    under_way_there: int = 0

    def is_new(self, at: datetime | None) -> bool:
        """Say whether their list may not show yet what was done at this moment."""
        return at is not None and self.now - at < GRACE

    def here(self, one: Delivery) -> None:
        """Take one that is not in their list.

        What is left of a forgotten customer's payment does not tell whether it was undone.
        """
        if one.dedupe in self.undone or one.customer_key is None:
            return
        if self.is_new(one.settled_at):
            self.under_way += 1
        else:
            self._add(Side.HERE, one, None, {}, _likely_here(one))

    def both(self, one: Delivery, record: Record) -> None:
        """Take one that both have."""
        gone = self.undone.get(one.dedupe)
        differs = _compared(one, record, production=self.production)
        if gone is not None and not self.is_new(gone):
            differs = {"state": ("undone", "still there")}
        if differs:
            self._add(Side.UNLIKE, one, record, differs, "")
        else:
            self.alike += 1

    def there(self, record: Record, known: Delivery | None, *, again: bool) -> None:
        """Take one of theirs that is not accepted here; `again`: they have it more than once."""
        if known is not None and (known.status.open or self.is_new(known.settled_at)):
            self.under_way_there += 1
            return
        likely = _likely_there(record, known, again=again)
        self._add(Side.THERE, known, record, {}, likely)

    def _add(
        self,
        side: Side,
        one: Delivery | None,
        record: Record | None,
        differs: Mapping[str, tuple[str, str]],
        likely: str,
    ) -> None:
        there = record or Record(kind="", id=None, keys=(), customer_keys=())
        shown = next(iter(there.customer_keys), None)
        self.differences.append(
            Difference(
                side=side,
                kind=one.kind if one is not None else there.kind,
                delivery_id=None if one is None else one.id,
                status=None if one is None else one.status.value,
                record_id=there.id,
                customer_key=shown if one is None else one.customer_key or shown,
                key=_key(one, there),
                partner_key=there.partner_key if one is None else one.partner_key,
                amount=there.amount if one is None else one.amount,
                currency=there.currency if one is None else one.currency,
                at=there.created_at if one is None else one.created_at,
                differs=differs,
                likely=likely,
            )
        )


def _key(one: Delivery | None, there: Record) -> str | None:
    if one is not None and one.key is not None:
        return one.key
    return None if there.kind in ("", Signup.kind) else next(iter(there.keys), None)


def reconcile(
    services: Services,
    network: str,
    since: datetime,
    *,
    read: Callable[[int], None] = lambda count: None,
    seconds: float | None = None,
) -> Comparison:
    """Compare all that was recorded since a moment; `read` hears how many records each page has.

    Nothing is sent or changed. `seconds` is how long each of the network's lists may take.
    """
    queries = Queries(services.storage, services.outbox)
    reader = services.supervisor.readers[network]
    listed, unread = _listed(reader, queries, network, since, read, seconds)
    settings = services.settings
    now = services.clock.now()
    tally = _Tally(
        now=now,
        production=settings.production,
        undone=_undone(queries, network, since),
    )
    for kind, records in listed.items():
        accepted = _all(queries, network, Wanted(since=since, kinds=(kind,), statuses=SENT))
        ours = _as_they_know_them(services, list(accepted))
        _match(services, queries, network, tally, records, ours, since)
    differences, explained = _sorted_out(services, sorted(tally.differences, key=_newest_first))
    return Comparison(
        network=network,
        since=since,
        at=now,
        alike=tally.alike,
        under_way=tally.under_way,
        under_way_there=tally.under_way_there,
        differences=differences,
        explained=explained,
        unread=unread,
    )


def _newest_first(one: Difference) -> tuple[float, int]:
    """Return by what differences are put in order: those without a time come last."""
    return 0.0 if one.at is None else -one.at.timestamp(), -(one.delivery_id or 0)


def _sorted_out(
    services: Services, found: Sequence[Difference]
) -> tuple[tuple[Difference, ...], tuple[Difference, ...]]:
    """Return the differences, and those that somebody has explained."""
    known = services.audit.details(EXPLAINED, "difference")
    differences: list[Difference] = []
    explained: list[Difference] = []
    with services.storage.engine().connect() as connection:
        for one in found:
            itself = (one.side.value, one.kind, str(one.delivery_id), str(one.record_id))
            mark = services.outbox.hashed(connection, ("difference", *itself, *one.differs))
            marked = replace(one, mark=mark[:32])
            (explained if marked.mark in known else differences).append(marked)
    return tuple(differences), tuple(explained)


def _listed(
    reader: Reader,
    queries: Queries,
    network: str,
    since: datetime,
    read: Callable[[int], None],
    seconds: float | None,
) -> tuple[dict[str, list[Record]], dict[str, str]]:
    listed: dict[str, list[Record]] = {}
    unread: dict[str, str] = {}
    for kind in KINDS:
        from_ = since
        if kind == Transaction.kind:
            # Which of its two times the network lists one under is not documented.
            payments = _all(queries, network, Wanted(since=since, kinds=(kind,), statuses=TOLD))
            from_ = min([since, *(_dated(one) for one in payments)])
        found = reader.records(kind, from_, read=read, seconds=seconds)
        if isinstance(found, Unknown):
            unread[kind] = found.detail
        else:
            listed[kind] = found
    return listed, unread


def _dated(one: Delivery) -> datetime:
    """Return when a payment says that it happened."""
    said = one.conversion.created_at if isinstance(one.conversion, Transaction) else None
    if said is None:
        return one.created_at
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=said)


def _all(queries: Queries, network: str, wanted: Wanted) -> Iterable[Delivery]:
    """Return what a list has of one network, by pages."""
    before = None
    while True:
        page = queries.page(wanted, _PAGE, before)
        yield from (one for one in page if one.network == network)
        if len(page) < _PAGE:
            return
        before = (page[-1].created_at, page[-1].id)


def _undone(queries: Queries, network: str, since: datetime) -> dict[str, datetime]:
    wanted = Wanted(since=since, kinds=(Reversal.kind,), statuses=SENT)
    return {
        one.parent: one.settled_at
        for one in _all(queries, network, wanted)
        if one.parent is not None and one.settled_at is not None
    }


def _as_they_know_them(services: Services, recorded: Sequence[Delivery]) -> dict[str, Delivery]:
    """Return deliveries by what the network's records of them would be hashed as."""
    ours = {one.dedupe: one for one in recorded if one.known_as is None}
    renamed = [one for one in recorded if one.known_as is not None]
    if renamed:
        with services.storage.engine().connect() as connection:
            for one in renamed:
                # Others are known by a key of their own.
                known = one.kind == Signup.kind or (one.kind == Action.kind and one.key is None)
                what = (one.what,) if one.what is not None else ()
                name = (one.kind, str(one.known_as), *what)
                ours[services.outbox.hashed(connection, name) if known else one.dedupe] = one
    return ours


def _match(
    services: Services,
    queries: Queries,
    network: str,
    tally: _Tally,
    records: Sequence[Record],
    ours: Mapping[str, Delivery],
    since: datetime,
) -> None:
    left = set(ours)
    seen: set[str] = set()
    strangers: list[tuple[Record, list[str]]] = []

    def take(record: Record, hashes: list[str]) -> None:
        dedupe = next((one for one in hashes if one in left), None)
        if dedupe is None:
            strangers.append((record, hashes))
            return
        left.discard(dedupe)
        seen.add(dedupe)
        tally.both(ours[dedupe], record)

    with services.storage.engine().connect() as connection:
        for record in records:
            take(record, [services.outbox.hashed(connection, one) for one in _identities(record)])
        # The rows of who was forgotten have another hash: few records are worth making it for.
        unknown, strangers = strangers, []
        for record, hashes in unknown:
            seals = services.outbox.seals
            sealed = [other for one in hashes for other in seals.also(connection, one, tally.now)]
            take(record, [*hashes, *sealed])
    known = queries.by_dedupe(network, [one for _, hashes in strangers for one in hashes])
    for record, hashes in strangers:
        one = next((known[dedupe] for dedupe in hashes if dedupe in known), None)
        again = any(dedupe in seen for dedupe in hashes)
        if again or not _is_older(record, one, since):
            tally.there(record, one, again=again)
    for dedupe in left:
        tally.here(ours[dedupe])


def _is_older(record: Record, one: Delivery | None, since: datetime) -> bool:
    """Say whether a record belongs to the time before, which is not compared."""
    if one is not None:
        return one.created_at < since
    return record.created_at is not None and record.created_at < since - _CLOCKS_APART


def _identities(record: Record) -> list[tuple[str, ...]]:
    """Return what our conversion would be that a record shows."""
    named: list[tuple[str, ...]] = [(record.kind, key) for key in record.keys]
    if record.kind == Action.kind and record.what is not None:
        named += [(record.kind, customer, record.what) for customer in record.customer_keys]
    return named


def _compared(one: Delivery, record: Record, *, production: bool) -> dict[str, tuple[str, str]]:
    """Return what differs, of what both show."""
    differs = {}
    if one.partner_key and record.partner_key and one.partner_key != record.partner_key:
        differs["partner"] = (one.partner_key, record.partner_key)
    here, there = _money(one.amount, one.currency), _money(record.amount, record.currency)
    if one.kind == Transaction.kind and here and there and here != there:
        differs["amount"] = (here, there)
    if production and record.test:
        differs["test"] = ("live", "test")
    return differs


def _money(amount: int | None, currency: str | None) -> str | None:
    return (
        None
        if amount is None or currency is None
        else f"{major_units(amount, currency)} {currency}"
    )


def _likely_here(one: Delivery) -> str:
    if one.status is Status.CONFIRMED:
        return "it was on their record: deleted there since"
    if one.status is Status.MISSING:
        return "accepted, and never on their record: they may not know the click"
    return "accepted, and not on their record"


def _likely_there(record: Record, one: Delivery | None, *, again: bool) -> str:
    if again:
        return "they have it twice"
    if record.test:
        return "a TEST record: nobody is paid for it"
    if one is None:
        return "entered there by somebody else"
    if one.customer_key is None:
        return "emptied here (forget or prune)"
    why = f" ({reason_word(one.reason)})" if one.status is Status.UNATTRIBUTED else ""
    return f"not accepted here: {STATUS_WORDS[one.status.value]}{why}"
