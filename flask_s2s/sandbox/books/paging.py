"""Pages of a list in the order of creation, cut by cursors rather than by numbers."""

from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

#: Beyond every row id and every moment.
NEVER = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A page of a list, as it is asked for."""

    limit: int = 10
    #: The row id that the page lies beyond, if any.
    cursor: int | None = None
    #: Whether the page lies before the cursor (in the list's order) rather than after it.
    backwards: bool = False
    newest_first: bool = True
    #: Bounds of the creation time, epoch milliseconds, both included.
    low: int = 0
    high: int = NEVER

    @property
    def downwards(self) -> bool:
        """Whether the rows are to be read with falling ids."""
        return self.newest_first != self.backwards

    def parameters(self, *filters: str | int) -> tuple[str | int, ...]:
        """Return bound values: cursor, the caller's filters, both times, limit."""
        edge = NEVER if self.downwards else 0
        cursor = edge if self.cursor is None else self.cursor
        return (cursor, *filters, self.low, self.high, self.limit + 1)

    def cut(self, rows: list[Item]) -> tuple[list[Item], bool]:
        """Bring rows into the list's order; say whether more lie in the same direction."""
        kept = rows[: self.limit]
        return (kept[::-1] if self.backwards else kept), len(rows) > self.limit
