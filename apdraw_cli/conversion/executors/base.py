"""What an executor is: the place where photos are drawn, in this process, on this machine or on others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.plan import Step

if TYPE_CHECKING:
    from engines.base import Engine

POLL_SECONDS: Final = 0.2
"""How often what waits looks whether there is something to do, or whether to stop."""


@dataclass(frozen=True)
class EngineReady:
    """The engine is open: from here on, photos are drawn.

    Attributes:
        engine: what draws.
        workers: number of processes that prepare photos and encode drawings; 0 if this process does.
    """

    engine: "Engine"
    workers: int


Event = Outcome | EngineReady | None


class Executor(Protocol):
    """Draws the photos of a plan. It may be used for several conversions, one after the other."""

    def outcomes(self, steps: Iterator[Step | None], stopped: Callable[[], bool]) -> Iterator[Event]:
        """Draws photos as the plan wants it.

        Args:
            steps: the plan; taken up little by little, perhaps from another thread. None: there is nothing to do just
                now, and it will be asked again in a moment.
            stopped: asked now and then, from any thread; True ends it early. What is being drawn is still written.

        Yields:
            One outcome for each step, in any order; what is settled by the plan comes through as it is. `EngineReady`
            once, before the first photo that was drawn; nothing is opened if there is none. None now and then while
            nothing happens. If iteration is given up, all that was started ends before `close` of the iterator returns.

        Raises:
            ApdrawError: nothing more can be drawn; what was drawn until then has been yielded.
        """
        ...

    def close(self) -> None:
        """Frees engine and processes."""
        ...
