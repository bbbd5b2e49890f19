"""Bindings: clicks of visitors who have said who they are, and the bounds on unproved ones.

An identity is stored as a keyed hash (`store/privacy/keyring`). Anybody can type a stranger's address into a
form, so a binding is *proved* only where the caller says so. Of unproved ones the first `A_CLICK` of a
click count, and the first `A_DAY` of a partner and day (of all whose link names none, together). That
is decided when somebody is credited, by the order of the rows: no lock is needed that visitors of one
partner would wait for. Whoever looks sees no more than that count, whatever is open; but which do may
change: until a row is committed, later ones count in its place. Nobody gains by that (docs/threat-model.md).
Rows beyond that are kept, up to `_KEPT` times as many, so that people see what was collected.

All bindings of an identity stay. A proved one comes before an unproved one; between equals
`S2S_ATTRIBUTION` decides; the losers are the credited click's touches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    case,
    delete,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from ..click import MAX_TOUCHES, Click, dump_click, load_click, within
from ..config.settings import Settings
from ..errors import StorageError
from ..rules.attribution import UNPROVED, Attribution, Reason
from ..rules.identity import Identity, identities
from .database.storage import Storage
from .dialects.servers import begin_writing
from .dialects.statements import EPOCH, upsert
from .privacy.keyring import Keyring

log = logging.getLogger("flask_s2s.capture")

#: How many unproved identities of one click count, and of one partner's clicks on one day.
A_CLICK = 3
A_DAY = 30
#: So many times as many rows are kept, to be counted and shown.
_KEPT = 10
#: How many of an identity's bindings are looked at.
_SOME = 20
#: How many bytes of a click's sub IDs a row holds.
_SUB_IDS = 2000
#: For how long a collector is news.
_LATELY = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One binding of an identity, as it counts now."""

    click: Click
    #: The visitor's other clicks.
    touches: tuple[Click, ...]
    proved: bool
    #: Whether it may credit: it is proved, or not one of too many.
    counts: bool
    #: Whether its click's window is open.
    live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """A click, or a partner on one day, with more identities than count."""

    kind: str
    network: str
    #: The click's ID or the partner's key; empty: links that name no partner.
    name: str
    identities: int


class Bindings:
    """The bindings of one database."""

    def __init__(self, storage: Storage, settings: Settings, keyring: Keyring) -> None:
        self._storage = storage
        self._rows = storage.tables.binding
        self._settings = settings
        self._keyring = keyring

    def bind_alone(
        self,
        who: Sequence[Identity],
        found: Attribution,
        now: datetime,
        create: Callable[[], object],
        *,
        proved: bool = False,
    ) -> bool:
        """Bind in a transaction of our own. Raises what the database raises.

        `create` makes the tables of a file of ours, and says whether it did.
        """
        try:
            return self._bind_alone(who, found, now, proved)
        except (SQLAlchemyError, StorageError):
            if not create():
                raise
            return self._bind_alone(who, found, now, proved)

    def bind(
        self,
        connection: Connection,
        who: Sequence[Identity],
        found: Attribution,
        now: datetime,
        *,
        proved: bool = False,
    ) -> bool:
        """Bind the click of `found`; say whether that counts. Raises what the database raises."""
        click = found.click
        if click is None or not who or not (proved or self._settings.identify == "limited"):
            return False
        begin_writing(connection, self._rows)
        key = self._keyring.identity_to_write(connection)
        if key is None:
            log.error(
                "s2s.identity.no_key: no secret of the site's opens a key of the database; see "
                "`flask s2s check`",
                extra={"action": "identity.no_key"},
            )
            return False
        row = self._row(found, now, proved)
        adding = self._adding(connection, now)
        # In one order always: two requests that bind the same two must not wait for each other.
        hashes = sorted(key.hash(one.kind, one.text) for one in who)
        counted = [self._add(connection, adding, {**row, "identity": one}) for one in hashes]
        return any(counted)

    def find(
        self,
        connection: Connection,
        who: Sequence[Identity],
        now: datetime,
        barred: Callable[[Sequence[Click]], Sequence[Click]] = lambda clicks: (),
    ) -> Attribution | None:
        """Return the click that the first of `who` with one was bound to; None: there is none.

        A binding that is past its click's window gives no click, and says so. `barred` returns
        those of some clicks that nobody is credited to.
        """
        if not who:
            return None
        begin_writing(connection, self._rows)
        key = self._keyring.identity(connection)
        if key is None:
            return None
        seen = False
        for one in who:
            bound = self._of(connection, [key.hash(one.kind, one.text)], now)
            shut = barred([row.click for row in bound]) if bound else ()
            good = [row for row in bound if row.counts and row.live and row.click not in shut]
            if good:
                return _attribution(good[0], bound)
            seen = seen or any(row.counts and not row.live for row in bound)
        return Attribution(None, Reason.EXPIRED) if seen else None

    def of(self, connection: Connection, who: Sequence[Identity], now: datetime) -> list[Bound]:
        """Return what these identities are bound to, what would be credited first."""
        hashes = self.hashes(connection, who)
        return self._of(connection, sorted(hashes), now) if hashes else []

    def hashes(self, connection: Connection, who: Sequence[Identity]) -> set[str]:
        """Return what these identities are stored as."""
        key = self._keyring.identity(connection)
        return set() if key is None else {key.hash(one.kind, one.text) for one in who}

    def of_user(self, connection: Connection, key: str) -> int:
        """Return how many clicks a user's ID is bound to."""
        hashes = self.hashes(connection, identities(None, key))
        rows = self._rows
        counted = select(func.count()).select_from(rows).where(rows.c.identity.in_(hashes))
        return connection.scalar(counted) or 0

    def rename_user(self, connection: Connection, old: str, new: str) -> int:
        """Bind to another ID what a user's was bound to; return how many clicks.

        What both are bound to is proved where either was.
        """
        rows, key = self._rows, self._keyring.identity(connection)
        if key is None:
            return 0
        before, after = (key.hash("user", one) for one in (old, new))
        theirs = {}
        for hashed in (before, after):
            found = select(rows).where(rows.c.identity == hashed)
            listed = connection.execute(found).mappings().all()
            theirs[hashed] = {(row["network"], row["click_id"]): row for row in listed}
        for named, row in theirs[before].items():
            this = rows.c.id == row["id"]
            there = theirs[after].get(named)
            if there is None:
                connection.execute(update(rows).where(this).values(identity=after))
                continue
            proved = max(row["proved"], there["proved"])
            same = rows.c.id == there["id"]
            connection.execute(update(rows).where(same).values(proved=proved))
            connection.execute(delete(rows).where(this))
        return len(theirs[before])

    def collectors(self, now: datetime) -> list[Collector]:
        """Return the clicks and partners that more identities were bound to lately than count."""
        rows, since = self._rows, _day(now) - _LATELY
        number = func.count()
        lately = select(number).where(rows.c.proved == 0, rows.c.day >= since)
        named = (rows.c.network, rows.c.click_id)
        clicks = lately.add_columns(*named).group_by(*named).having(number > A_CLICK)
        daily = (rows.c.network, rows.c.partner)
        partners = lately.add_columns(*daily).group_by(*daily, rows.c.day).having(number > A_DAY)
        with self._storage.connect() as connection:
            found = [_collector("click", row) for row in connection.execute(clicks)]
            return found + [_collector("partner", row) for row in connection.execute(partners)]

    def count_outdated(self, now: datetime) -> int:
        """Return how many bindings are past their click's window."""
        counted = select(func.count()).select_from(self._rows).where(self._outdated(now))
        with self._storage.connect() as connection:
            return connection.scalar(counted) or 0

    def sweep(self, connection: Connection, now: datetime, limit: int | None = None) -> int:
        """Delete bindings past their click's window."""
        rows, old = self._rows, self._outdated(now)
        if limit is not None:
            some = list(connection.scalars(select(rows.c.id).where(old).limit(limit)))
            if not some:
                return 0
            # Asked again: its person may have come by a new click since.
            old = and_(rows.c.id.in_(some), old)
        return connection.execute(delete(rows).where(old)).rowcount

    # -- binding ------------------------------------------------------------------------------

    def _bind_alone(
        self, who: Sequence[Identity], found: Attribution, now: datetime, proved: bool
    ) -> bool:
        def bind(connection: Connection) -> bool:
            return self.bind(connection, who, found, now, proved=proved)

        return self._storage.write(bind)

    def _row(self, found: Attribution, now: datetime, proved: bool) -> dict[str, Any]:
        click = found.click
        assert click is not None
        touches = [dump_click(within(touch, 0)) for touch in found.touches[:MAX_TOUCHES]]
        return {
            "network": click.network,
            "click_id": click.click_id,
            "partner": click.partner_key or "",
            "click": dump_click(within(click, _SUB_IDS)),
            "touches": touches or None,
            "at": click.at,
            "proved": int(proved),
            "day": _day(now),
        }

    def _add(self, connection: Connection, adding: Any, row: dict[str, Any]) -> bool:
        """Add one binding, if not far too many are there already; say whether it counts."""
        crossed = []
        for name, most, others in () if row["proved"] else self._rivals(row):
            counted = select(func.count()).select_from(self._rows).where(others)
            number = connection.scalar(counted) or 0
            if number >= most * _KEPT:
                return False
            if number == most:
                crossed.append((name, most))
        this = [self._rows.c[name] == row[name] for name in ("identity", "network", "click_id")]
        if crossed and connection.scalar(select(self._rows.c.id).where(*this)) is None:
            for name, most in crossed:
                _tell(name, most)
        connection.execute(adding, row)
        counts = connection.scalar(select(case((self._counts(), 1), else_=0)).where(*this))
        # None: another transaction bound the same in this moment, and this one's snapshot is older.
        return counts is None or bool(counts)

    def _rivals(self, row: dict[str, Any]) -> list[tuple[str, int, ColumnElement[bool]]]:
        """Return what else was bound to the same click, and that day to the same partner."""
        rows = self._rows
        unproved = and_(rows.c.proved == 0, rows.c.network == row["network"])
        others = and_(unproved, rows.c.identity != row["identity"])
        daily = and_(others, rows.c.day == row["day"], rows.c.partner == row["partner"])
        return [
            ("a click", A_CLICK, and_(others, rows.c.click_id == row["click_id"])),
            ("a partner", A_DAY, daily),
        ]

    def _adding(self, connection: Connection, now: datetime) -> Any:
        """Return the statement that adds one, or proves or renews the one that is there."""
        rows, outdated = self._rows, self._outdated(now)
        # `at` decides whether it is outdated, so it goes last.
        renewed = ("day", "partner", "click", "touches", "at")
        return upsert(
            connection,
            rows,
            ("identity", "network", "click_id"),
            where=lambda new: or_(outdated, new.proved > rows.c.proved),
            changes=lambda new: [
                ("proved", new.proved),
                *((name, case((outdated, new[name]), else_=rows.c[name])) for name in renewed),
            ],
        )

    # -- finding ------------------------------------------------------------------------------

    def _of(self, connection: Connection, hashes: Sequence[str], now: datetime) -> list[Bound]:
        """Return an identity's bindings, what would be credited first."""
        rows = self._rows
        counts = case((self._counts(), 1), else_=0).label("counts")
        outdated = case((self._outdated(now), 1), else_=0).label("outdated")
        last = self._settings.attribution == "last"
        at = rows.c.at.desc() if last else rows.c.at
        found = select(rows, counts, outdated).where(rows.c.identity.in_(hashes))
        best = (outdated, counts.desc(), rows.c.proved.desc(), at, rows.c.id)
        listed = connection.execute(found.order_by(*best).limit(_SOME)).mappings()
        return [bound for row in listed if (bound := _bound(row)) is not None]

    def _counts(self) -> ColumnElement[bool]:
        rows = self._rows
        if self._settings.identify == "verified":
            return rows.c.proved == 1
        before = rows.alias("before")
        earlier = and_(
            before.c.proved == 0, before.c.network == rows.c.network, before.c.id < rows.c.id
        )
        of_click = and_(earlier, before.c.click_id == rows.c.click_id)
        of_day = and_(earlier, before.c.day == rows.c.day, before.c.partner == rows.c.partner)
        count = select(func.count()).select_from(before)
        few = (
            count.where(of_click).correlate(rows).scalar_subquery() < A_CLICK,
            count.where(of_day).correlate(rows).scalar_subquery() < A_DAY,
        )
        return or_(rows.c.proved == 1, and_(*few))

    def _outdated(self, now: datetime) -> ColumnElement[bool]:
        rows, settings = self._rows, self._settings
        own = [
            and_(rows.c.network == network, rows.c.at < now - window)
            for network, window in settings.windows.items()
        ]
        others = rows.c.network.not_in(list(settings.windows)) if settings.windows else true()
        return or_(*own, and_(others, rows.c.at < now - settings.window))


def _day(now: datetime) -> int:
    return (now - EPOCH).days


def _tell(what: str, most: int) -> None:
    log.warning(
        "s2s.identity.collected: more than %d identities were bound to %s without proof; no more of "
        "them count, see `flask s2s status`",
        most,
        what,
        extra={"action": "identity.collected"},
    )


def _collector(kind: str, row: Any) -> Collector:
    number, network, name = row
    return Collector(kind=kind, network=network, name=name, identities=number)


def _bound(row: RowMapping) -> Bound | None:
    """Return a row's click and the earlier ones; None where another version wrote them."""
    try:
        return Bound(
            click=load_click(row["click"]),
            touches=tuple(load_click(touch) for touch in row["touches"] or ()),
            proved=bool(row["proved"]),
            counts=bool(row["counts"]),
            live=not row["outdated"],
        )
    except (LookupError, TypeError, ValueError, OverflowError):
        return None


def _attribution(won: Bound, bound: Sequence[Bound]) -> Attribution:
    """Return the winner, with all else that the identity came by as its touches."""
    lost = [row.click for row in bound if row is not won]
    others = {(one.network, one.click_id): one for one in (*lost, *won.touches)}
    others.pop((won.click.network, won.click.click_id), None)
    touches = tuple(others.values())[:MAX_TOUCHES]
    detail = None if won.proved else UNPROVED
    return Attribution(won.click, Reason.IDENTITY, detail=detail, touches=touches)
