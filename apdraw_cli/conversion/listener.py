"""Who is told how a conversion goes, while it goes."""

from typing import TYPE_CHECKING, Protocol

from apdraw_cli.conversion.outcome import Outcome

if TYPE_CHECKING:
    from engines.base import Engine


class Listener(Protocol):
    """Is told how a conversion goes, always from the thread that called for it."""

    def counted(self, photos: int) -> None:
        """The number of photos is known."""
        ...

    def engine_ready(self, engine: "Engine", workers: int) -> None:
        """Drawing begins."""
        ...

    def settled(self, outcome: Outcome) -> None:
        """A photo is through."""
        ...

    def waiting(self) -> None:
        """Nothing happened for a moment."""
        ...

    def stopping(self) -> None:
        """The user asked for an end; what is being drawn is finished."""
        ...

    def picturing(self, done: int, total: int) -> None:
        """So many of the drawings of a gallery have their small pictures."""
        ...


class Together:
    """Tells several listeners, one after the other.

    Args:
        listeners: who is told.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def counted(self, photos: int) -> None:
        """Passes on the number of photos."""
        for each in self._listeners:
            each.counted(photos)

    def engine_ready(self, engine: "Engine", workers: int) -> None:
        """Passes on that drawing begins."""
        for each in self._listeners:
            each.engine_ready(engine, workers)

    def settled(self, outcome: Outcome) -> None:
        """Passes on that a photo is through."""
        for each in self._listeners:
            each.settled(outcome)

    def waiting(self) -> None:
        """Passes on that nothing happened."""
        for each in self._listeners:
            each.waiting()

    def stopping(self) -> None:
        """Passes on that the user asked for an end."""
        for each in self._listeners:
            each.stopping()

    def picturing(self, done: int, total: int) -> None:
        """Passes on how far a gallery is."""
        for each in self._listeners:
            each.picturing(done, total)


class Silent:
    """A listener that tells nobody; also a base for listeners that want a few of the events only."""

    def counted(self, photos: int) -> None:
        """Ignores the number of photos."""

    def engine_ready(self, engine: "Engine", workers: int) -> None:
        """Ignores that drawing begins."""

    def settled(self, outcome: Outcome) -> None:
        """Ignores that a photo is through."""

    def waiting(self) -> None:
        """Ignores that nothing happens."""

    def stopping(self) -> None:
        """Ignores that the user asked for an end."""

    def picturing(self, done: int, total: int) -> None:
        """Ignores how far a gallery is."""
