"""Tells the logger `apdraw.photos` what becomes of each photo, for log files and for programs that draw with apdraw."""

import logging
from typing import TYPE_CHECKING, Final

from apdraw_cli.conversion.listener import Silent
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.terminal_text import printable

if TYPE_CHECKING:
    from engines.base import Engine

LOGGER: Final = logging.getLogger("apdraw.photos")
LOGGER.addHandler(logging.NullHandler())  # who has not set up logging is not shown a line for each photo that fails


class PhotoLog(Silent):
    """A listener that logs photos: drawn ones as INFO, skipped ones as DEBUG, others as WARNING if that is new."""

    def engine_ready(self, engine: "Engine", workers: int) -> None:
        """Logs what draws."""
        LOGGER.info("drawing with %s on %s in %s, workers: %d", engine.name, engine.device, engine.precision, workers)

    def settled(self, outcome: Outcome) -> None:
        """Logs a photo."""
        level = level_of(outcome)
        if LOGGER.isEnabledFor(level):
            LOGGER.log(level, "%s", told(outcome))
            if outcome.trace:
                LOGGER.debug("%s", outcome.trace)


def level_of(outcome: Outcome) -> int:
    """How much what became of a photo matters."""
    if outcome.status == "skipped":
        return logging.DEBUG
    if outcome.error is not None and not outcome.known:
        return logging.WARNING
    return logging.INFO


def told(outcome: Outcome) -> str:
    """What became of a photo, in one line."""
    name, error = outcome.source.name, outcome.error
    if error is not None:
        known = ", as before" if outcome.known else ""
        return printable(f"{outcome.status}  {name}: {error.message} ({error.code}{known})")
    if outcome.status == "skipped":
        return printable(f"skipped  {name}: up to date")
    seconds = sum(outcome.seconds.values())
    look = "".join(f"; {warning.message}" for warning in outcome.warnings)
    return printable(f"done  {name} -> {', '.join(outcome.outputs)} ({seconds:.1f} s{look})")
