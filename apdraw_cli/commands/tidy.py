"""`apdraw tidy`: a data set of a model's own drawings, tidied, for it to learn from."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TidyResult:
    """What was made.

    Attributes:
        output: the new data set.
        portraits: in it.
        seconds: seconds that the whole command took.
    """

    output: Path
    portraits: int
    seconds: float


def tidy(dataset: Path, model: Path, output: Path, progress: Callable[[int, int | None], None]) -> TidyResult:
    """Draws a data set with a model, and writes another with these drawings, tidied; see `train.redraw.redraw`."""
    from train.redraw import redraw

    start = time.perf_counter()
    portraits = redraw(dataset, model, output, progress)
    return TidyResult(output, portraits, time.perf_counter() - start)
