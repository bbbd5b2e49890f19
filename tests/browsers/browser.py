"""A visitor's acts with any browser."""

from __future__ import annotations

from typing import Protocol


class Browser(Protocol):
    """A browser with a profile of its own, which outlives its process."""

    @property
    def url(self) -> str:
        """The address in the address bar."""

    @property
    def title(self) -> str:
        """The title of the page that is there; nothing while it changes."""

    def start(self) -> None:
        """Start it with its profile."""

    def stop(self) -> None:
        """Quit it as its user does: what it clears on exit, it clears."""

    def type(self, url: str) -> None:
        """Type an address, and wait until the page and all in it are there."""

    def follow(self, label: str) -> None:
        """Click the first link that says `label`."""

    def send(self, **fields: str) -> None:
        """Fill the page's form, each field by its id, and press its button."""

    def reload(self) -> None:
        """Load the page again."""

    def back(self) -> None:
        """Go back to the page before."""

    def settle(self) -> None:
        """Wait until the page is there."""

    def forget(self) -> None:
        """Delete all cookies, so that what comes next is another visitor's."""
