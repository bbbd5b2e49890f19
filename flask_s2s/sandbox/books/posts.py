"""Every conversion post that reached the network, answered or not.

Kept apart from the customers because tests ask a question that a real network cannot answer: how
often did the client really call, and how often was it told that all is well?
"""

from flask_s2s.sandbox.books.database import Database
from flask_s2s.sandbox.books.moments import Clock, milliseconds


class Posts:
    """The conversion posts received."""

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now

    def receive(self, customer_key: str | None) -> int:
        """Note that a post has arrived; returns the number to close it with."""
        cursor = self._database.write(
            "INSERT INTO conversion_post (customer_key, created_at) VALUES (?, ?)",
            (customer_key, milliseconds(self._now())),
        )
        return int(cursor.lastrowid or 0)

    def answer(self, post_id: int, status: int) -> None:
        """Note the answer that is about to leave, however slowly."""
        self._database.write(
            "UPDATE conversion_post SET status = ? WHERE id = ?", (status, post_id)
        )
