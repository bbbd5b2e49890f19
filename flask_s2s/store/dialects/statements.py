"""Statements and columns that each database has in words of its own.

A statement that is part of the caller's own request, or of every delivery, is compiled once and run as
text (`CompiledOnce`): SQLAlchemy does much anew for each execution of a compiled statement.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from importlib import import_module
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Index,
    Integer,
    Select,
    String,
    Table,
    Text,
    TypeDecorator,
    Update,
    func,
    select,
    text,
    tuple_,
)
from sqlalchemy.engine import Dialect

from .names import MARIADB, POSTGRESQL, SQLITE, Bind

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def inserting_once(bind: Bind, table: Table) -> Any:
    """Return an insert that changes nothing where a row with the same unique values is there.

    Not every driver says afterwards how many rows it has added.
    """
    if bind.dialect.name in MARIADB:
        return table.insert().prefix_with("IGNORE")
    return inserting(bind)(table).on_conflict_do_nothing()


def inserting(bind: Bind) -> Any:
    """Return SQLAlchemy's own `insert` of the database in use, with its `ON CONFLICT`.

    Not imported above: the three dialects together take longer to load than all of this package,
    and an engine has loaded its own already.
    """
    name = "mysql" if bind.dialect.name in MARIADB else bind.dialect.name
    return import_module(f"sqlalchemy.dialects.{name}").insert


def upsert(
    bind: Bind,
    table: Table,
    unique: Sequence[str],
    *,
    where: Callable[[Any], ColumnElement[bool]],
    changes: Callable[[Any], Sequence[tuple[str, Any]]],
    values: Mapping[str, Any] | None = None,
) -> Any:
    """Return an insert that changes the row in its way if that is so `where`, and else nothing.

    `where` and `changes` are told the columns of the row that is given. MariaDB has no condition for
    all of the changes, and assigns from left to right: what decides about others is changed last.
    """
    adding = inserting(bind)(table)
    if values is not None:
        adding = adding.values(dict(values))
    if bind.dialect.name in MARIADB:
        given = adding.inserted
        changed, its = where(given), table.c
        return adding.on_duplicate_key_update(
            [(name, func.if_(changed, value, its[name])) for name, value in changes(given)]
        )
    given = adding.excluded
    return adding.on_conflict_do_update(
        index_elements=list(unique), set_=dict(changes(given)), where=where(given)
    )


def returning(bind: Bind, statement: Any, *columns: Any) -> Any:
    """Let a statement that writes return columns, where the database has that for all of them.

    MariaDB has it for an insert and not for an update, MySQL for none.
    """
    return statement if bind.dialect.name in MARIADB else statement.returning(*columns)


def in_order(changing: Update, *assigned: tuple[Any, Any]) -> Update:
    """Assign columns in this order: one that decides about others comes after them.

    MariaDB assigns from left to right, and reads what it has assigned; the others read the row as it
    was.
    """
    return changing.ordered_values(*assigned)


def chains_writes(bind: Bind) -> bool:
    """Say whether one statement can lock rows, write several tables and return: PostgreSQL's `WITH`.

    What each part sees is older than the locks that the others take.
    """
    return bind.dialect.name == POSTGRESQL


def counts_batches(bind: Bind) -> bool:
    """Say whether the driver counts the rows of a statement that is executed for many values."""
    return bind.dialect.supports_sane_multi_rowcount


def has_lateral(bind: Bind) -> bool:
    """Say whether a recursive query can look into an index at each step (`LATERAL`): PostgreSQL's."""
    return bind.dialect.name == POSTGRESQL


def by_index(
    found: Select[Any], bind: Bind, columns: tuple[Column[Any], Column[Any]], one: Any, most: Any
) -> Select[Any]:
    """Narrow a selection to rows whose first column is `one`, by the index on both columns.

    It is bounded by `most` and ordered by the second column already. Told that the first is one,
    PostgreSQL may read an index on the second alone, and pass over all other rows; the order of both
    is that of no other index.
    """
    first, second = columns
    if bind.dialect.name != POSTGRESQL:
        return found.where(first == one)
    within = (first >= one, tuple_(first, second) <= tuple_(one, most))
    return found.where(*within).order_by(None).order_by(first, second)


def least(column: Column[Any], *which: ColumnElement[bool]) -> Select[Any]:
    """Select the smallest value of an indexed column that is set.

    Not by min(): MariaDB would read the index to its end for that.
    """
    return select(column).where(*which, column.is_not(None)).order_by(column).limit(1)


def unindexed(column: Column[str]) -> ColumnElement[str]:
    """Return a text that is never NULL so that no index on it is used.

    To group by it, SQLite would read the whole of such an index, and the rows with it, rather than sort
    the few that are asked for; it takes each of a column's values to be as frequent as the others.
    """
    return func.coalesce(column, "")


class CompiledOnce:
    """Statements about one table, by the sort that the caller has of them."""

    def __init__(
        self,
        table: Table,
        build: Callable[[Connection, Any], Any],
        written: Sequence[str] | None = None,
    ) -> None:
        """`build` makes the statement of a sort, with a parameter for each column that is given.

        `written` are those columns where the statement does not name them.
        """
        self._table = table
        self._build = build
        self._written = written
        self._texts: WeakKeyDictionary[Dialect, dict[Hashable, _Text]] = WeakKeyDictionary()

    def execute(
        self, connection: Connection, sort: Hashable, *rows: Mapping[str, Any]
    ) -> CursorResult[Any]:
        """Run one with the values of each row. Raises what the database raises."""
        texts = self._texts.setdefault(connection.dialect, {})
        text = texts.get(sort)
        if text is None:
            statement = self._build(connection, sort)
            texts[sort] = text = _Text(connection.dialect, statement, self._table, self._written)
        return text.execute(connection, rows)


def returned(result: CursorResult[Any]) -> Any:
    """Return the one value that a statement returned, or None: off the cursor, for a row costs as much."""
    assert result.cursor is not None
    row = result.cursor.fetchone()
    result.close()
    return None if row is None else row[0]


class _Text:
    """A statement as text, and how each of its values is bound, for one engine's dialect."""

    def __init__(
        self, dialect: Dialect, statement: Any, table: Table, written: Sequence[str] | None
    ) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=written)
        self._text = str(compiled)
        self._positional: bool = compiled.positional
        names = compiled.positiontup if compiled.positional else compiled.params
        self._names = tuple(names)
        self._in_order = itemgetter(*self._names)
        #: Values that are always the same, where a row has no other.
        self._fixed = dict(compiled.params)
        #: What turns a value into the driver's, by its name.
        made = [(name, _processor(dialect, table, name)) for name in dict.fromkeys(names)]
        self._processors = [(name, process) for name, process in made if process is not None]

    def execute(
        self, connection: Connection, rows: Sequence[Mapping[str, Any]]
    ) -> CursorResult[Any]:
        given = [self._given(row) for row in rows]
        return connection.exec_driver_sql(self._text, given[0] if len(given) == 1 else given)

    def _given(self, row: Mapping[str, Any]) -> Any:
        values = {**self._fixed, **row}
        for name, process in self._processors:
            values[name] = process(values[name])
        given = self._in_order(values)
        return given if self._positional else dict(zip(self._names, given, strict=True))


def _processor(dialect: Dialect, table: Table, name: str) -> Any:
    if name not in table.c:
        return None
    return table.c[name].type.dialect_impl(dialect).bind_processor(dialect)


def reading_by(statement: Select[Any], table: Table, index: str) -> Select[Any]:
    """Have MariaDB find a table's rows by an index: it takes rows far apart for as many reads.

    Of one time they lie beside each other, and it would read the whole table instead.
    """
    for name in MARIADB:
        statement = statement.with_hint(table, f"FORCE INDEX ({index})", name)
    return statement


def has(column: ColumnElement[str], word: str) -> ColumnElement[bool]:
    """Say whether a word stands in a text, as it is: SQLite's LIKE takes capitals for small letters."""
    return func.replace(column, word, "") != column


def exact(length: int) -> String:
    """Return text that compares byte by byte: by default MariaDB's takes capitals for small letters."""
    return String(length).with_variant(_Utf8(length), *MARIADB)


def words() -> Text:
    """Return text of somebody else's, whatever characters the host's database holds by itself."""
    return Text().with_variant(_Utf8Text(), *MARIADB)


def key() -> Column[int]:
    """Return a key that counts up: of 64 bits, which every integer of SQLite's has."""
    return Column("id", BigInteger().with_variant(Integer, SQLITE), primary_key=True)


def index_of_the_set(name: str, column: str, *more: str) -> Index:
    """Index a column where it is set: few rows, and SQLite would count the others as alike."""
    return Index(
        name,
        column,
        *more,
        sqlite_where=text(f"{column} IS NOT NULL"),
        postgresql_where=text(f"{column} IS NOT NULL"),
    )


class _Utf8(String):
    """MariaDB's text of ours, which reaches it whatever character set the host's connection has."""

    # As `Instant`: for Alembic it is what it is made of.
    __module__ = "sqlalchemy.types"

    def __init__(self, length: int | None = None) -> None:
        # The collation brings its character set with it.
        super().__init__(length, collation="utf8mb4_bin")

    def __repr__(self) -> str:
        return f"String(length={self.length}, collation={self.collation!r})"

    def bind_processor(self, dialect: Dialect) -> Any:
        return _as_bytes


class _Utf8Text(_Utf8):
    __module__ = "sqlalchemy.types"
    __visit_name__ = "text"

    def __repr__(self) -> str:
        return f"Text(collation={self.collation!r})"


def _as_bytes(value: str | None) -> str | bytes | None:
    """Return what no connection's character set has a say in."""
    return value if value is None or value.isascii() else value.encode()


def microseconds(value: datetime) -> int:
    """Return a time as it is stored."""
    return (value - EPOCH) // _MICROSECOND


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored as whole microseconds since 1970 (UTC)."""

    impl = BigInteger
    cache_ok = True
    # Alembic writes a type into a migration by its module and its repr, and imports nothing for it:
    # it is to read sa.BigInteger(), which needs nothing of ours.
    __module__ = "sqlalchemy.types"

    def __repr__(self) -> str:
        return "BigInteger()"

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=value)
