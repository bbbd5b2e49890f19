"""A history: what the visitors do, and what goes wrong, written down before it is played."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tests.simulation.network import LONGEST_LAG, READ_FAULTS, WRITE_FAULTS

_WEEK = 7 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A request that records a conversion, at so many seconds."""

    at: float
    number: int
    what: str
    customer: str
    #: Ours, of the action or transaction.
    key: str = ""
    #: The transaction that is paid back.
    of: str = ""
    xid: str | None = None
    #: "call" and "fact" in the caller's session, "alone" without one, "view" armed.
    how: str
    #: "commit", "rollback", or "fail": a view that committed, and then answered 500.
    end: str = "commit"
    #: How long the view goes on after its commit.
    pause: float = 0.0

    @property
    def name(self) -> str:
        """The network's name for it."""
        if self.what == "signup":
            return f"signup:{self.customer}"
        if self.what == "reversal":
            return f"reversal:{self.of}"
        return f"{'action' if self.what == 'action' else 'transaction'}:{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A process dies, stalls, or has a database that fails, at its nth seam from then on."""

    at: float
    how: str
    victim: int
    #: The seam's name; None: whichever.
    label: str | None
    countdown: int
    #: How long it stalls, or how long after its death another takes its place.
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """The network treats the next requests of a sort in this way."""

    at: float
    sort: str
    how: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A host is away ("refused", "silent"), or its credential is revoked ("revoked")."""

    at: float
    host: str
    how: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The database server's clock is wrong by so many seconds, for so many seconds."""

    at: float
    by: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """The database is copied; `after` so many seconds the copy takes its place."""

    at: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """The database takes no statement of anybody for so many seconds, and has what was committed."""

    at: float
    seconds: float


Event = Record | Strike | Failing | Outage | Step | Backup | Failover


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that decides what happens."""

    seed: int
    events: tuple[Event, ...]
    #: How far off the clocks of the machines are, in seconds: two web processes, then workers.
    skews: tuple[float, ...]
    #: Whether a repeated key is rewarded again; else it is ignored.
    second_reward: bool
    #: How late records become readable, at most, in seconds.
    lag: float
    #: Whether a commit wakes the workers at once, or they have to find out.
    wakes: bool
    #: Customers that the network knew before.
    older: tuple[str, ...] = ()


def make_history(seed: int) -> History:
    """Return the history of a seed."""
    random = Random(seed)
    span = random.choice((5.0, 60.0, 600.0, 7200.0))
    records: list[Record] = []
    older = []
    for number in range(random.choice((1, 1, 2, 3))):
        customer = f"c{number}"
        if not _records_of(random, customer, random.random() * span, records):
            older.append(customer)
    workers = random.choice((1, 1, 1, 2, 2, 3))
    troubles = [
        _trouble(random, [record.at for record in records], workers + 2)
        for _ in range(min(int(random.expovariate(0.35)), 9))
    ]
    troubles += [_view_dies(record) for record in records if _dies(random, record)]
    skewed = random.random() < 0.5
    if random.random() < 0.15:
        troubles.append(_step(random, [record.at for record in records]))
    rewards = [record.at for record in records if record.what in ("transaction", "action")]
    if workers == 1 and rewards and random.random() < 0.2:
        # Another learns what was sent by looking while it is idle, which is not played; and of one
        # that died meanwhile nobody remembers what it sent last.
        troubles = [one for one in troubles if not isinstance(one, Strike)]
        troubles += _restore(random, random.choice(rewards))
    troubles += _failover(Random(f"failover {seed}"), [record.at for record in records])
    return History(
        seed=seed,
        events=tuple(sorted([*records, *troubles], key=lambda event: event.at)),
        skews=tuple(random.uniform(-600, 600) if skewed else 0.0 for _ in range(workers + 2)),
        second_reward=random.random() < 0.7,
        lag=random.choice((0.0, 60.0, LONGEST_LAG)),
        wakes=random.random() < 0.7,
        older=tuple(older),
    )


def _restore(random: Random, paid_at: float) -> list[Event]:
    """A backup is made while a payment waits, and restored, mostly, once that was sent."""
    away = Outage(at=max(paid_at - 1, 0.0), host="api", how="refused", seconds=20.0)
    after = random.choice((60.0, 1200.0, 3600.0, 7200.0))
    return [away, Backup(at=paid_at + random.uniform(3, 15), after=after)]


def _failover(random: Random, when: list[float]) -> list[Event]:
    """Mostly none; else while somebody signs up, or pays, or soon after that."""
    if random.random() > 0.15:
        return []
    at = max(random.choice(when or [0.0]) + random.uniform(-3, 6), 0.0)
    return [Failover(at=at, seconds=random.choice((0.5, 5.0, 40.0, 300.0)))]


def _step(random: Random, when: list[float]) -> Step:
    at = max(random.uniform(-30, 60) + random.choice(when or [0.0]), 0.0)
    by = random.choice((3600.0, 86400.0, 365 * 86400.0, -3600.0))
    return Step(at=at, by=by, seconds=random.choice((8.0, 60.0, 600.0, 1800.0)))


def _records_of(random: Random, customer: str, at: float, records: list[Record]) -> bool:
    """Add what a customer does; return whether it signs up here."""
    signs_up = random.random() < 0.92
    if signs_up:
        xid = None if random.random() < 0.12 else f"xid{customer}"
        signup = _record(random, records, at=at, what="signup", customer=customer, xid=xid)
        if xid is None and random.random() < 0.6:
            again = at + random.expovariate(1 / 600)
            credit = {"what": "signup", "customer": customer, "xid": f"late{customer}"}
            _record(random, records, at=again, **credit)
        elif random.random() < 0.25 or signup.end != "commit":
            _again(random, records, signup)
    for number in range(random.choice((0, 0, 1, 1, 2))):
        _payment(random, customer, number, at, records)
    if random.random() < 0.2:
        later = max(at + random.uniform(-30, 300), 0.0)
        key = f"{customer}-up"
        _again(
            random,
            records,
            _record(random, records, at=later, what="action", customer=customer, key=key),
            0.3,
        )
    return signs_up


def _payment(random: Random, customer: str, number: int, at: float, records: list[Record]) -> None:
    key = f"{customer}-pay{number}"
    paid_at = max(at + random.choice((random.uniform(-30, 60), random.expovariate(1 / 1200))), 0.0)
    paid = _record(random, records, at=paid_at, what="transaction", customer=customer, key=key)
    _again(random, records, paid, 0.25)
    if random.random() < 0.35:
        part = {"what": "refund", "key": f"{key}-back", "of": key}
        whole = {"what": "reversal", "of": key}
        for fields in random.choice(((part,), (whole,), (part, whole))):
            back_at = max(paid_at + random.uniform(-10, 1500), 0.0)
            _record(random, records, at=back_at, customer=customer, **fields)


def _record(random: Random, records: list[Record], **fields: object) -> Record:
    how = random.choice(("alone", "call", "call", "fact", "view", "view"))
    chance, end = random.random(), "commit"
    if how != "alone" and chance < 0.12:
        end = "rollback"
    elif how == "view" and chance < 0.3:
        end = "fail"
    pause = random.choice((0.0, 0.1, 3.0)) if how == "view" else 0.0
    made = {"number": len(records), "how": how, "end": end, "pause": pause, **fields}
    records.append(Record(**made))  # type: ignore[arg-type]
    return records[-1]


def _again(random: Random, records: list[Record], first: Record, chance: float = 1.0) -> None:
    """The page is sent again: at once, or in a while, perhaps after another click."""
    if random.random() > chance:
        return
    at = first.at + random.choice((0.0, random.expovariate(0.5), random.expovariate(1 / 300)))
    xid = first.xid and random.choice((first.xid, f"{first.xid}other"))
    number = len(records)
    records.append(replace(first, at=at, number=number, xid=xid, end="commit"))


def _dies(random: Random, record: Record) -> bool:
    return record.how == "view" and random.random() < 0.06


def _view_dies(record: Record) -> Strike:
    """Its process is killed between the view's commit and its end."""
    at, victim = max(record.at - 0.001, 0.0), record.number % 2
    return Strike(at=at, how="kill", victim=victim, label="view", countdown=1, seconds=0.5)


_STRIKES = (
    "transport.before",
    "transport.written",
    "transport.written",
    "transport.after",
    "database.commit",
    "database.committed",
    "database.committed",
    "database.before",
    "jitter",
    "clock",
    "view",
    None,
    None,
)


def _trouble(random: Random, times: list[float], processes: int) -> Event:
    # Near what a visitor does, a while later, or when its answer is verified.
    when = (random.uniform(-3, 3), random.expovariate(1 / 60), random.uniform(840, 1000))
    at = max(random.choice(times or [0.0]) + random.choice(when), 0.0)
    chance = random.random()
    if chance < 0.45:
        how = random.choice(("kill", "kill", "stall", "stall", "error"))
        label = random.choice(_STRIKES)
        if how == "error" and label is not None and not label.startswith("database."):
            label = None
        countdown = random.randint(1, 40 if label is None else 4)
        seconds = random.choice((0.5, 30.0, 120.0, 200.0, 300.0)) * random.uniform(0.5, 1)
        victim = random.randrange(processes)
        return Strike(
            at=at, how=how, victim=victim, label=label, countdown=countdown, seconds=seconds
        )
    if chance < 0.9:
        sort = random.choice(("signup", "api", "api", "read"))
        how = random.choice(READ_FAULTS if sort == "read" else WRITE_FAULTS)
        if sort in ("signup", "api") and random.random() < 0.15:
            how = "dropped"
        return Failing(at=at, sort=sort, how=how, times=random.choice((1, 1, 2, 5, 25)))
    how = random.choice(("refused", "silent", "revoked"))
    seconds = random.choice((30.0, 300.0, 2400.0)) * random.uniform(0.5, 1)
    if random.random() < 0.04:
        seconds = _WEEK
    return Outage(at=at, host=random.choice(("tracking", "api")), how=how, seconds=seconds)
