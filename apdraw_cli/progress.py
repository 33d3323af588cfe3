"""Progress: a bar of tqdm on a terminal, elsewhere one plain line now and then, always on standard error."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from apdraw_cli.conversion.photo_log import told
from apdraw_cli.terminal_text import duration, photos, rate, write

if TYPE_CHECKING:
    from apdraw_cli.conversion.outcome import Outcome
    from engines.base import Engine

LINE_SECONDS: Final = 10.0
"""How often progress is told where there is no terminal."""

STOPPING: Final = "Stopping: what is being drawn is finished first; Ctrl-C again leaves at once."


class Progress:
    """How far a command is.

    Args:
        doing: what it does, as in `Evaluating`.
        unit: what it does that to, in the singular.
        quiet: show nothing.
    """

    def __init__(self, doing: str, unit: str, *, quiet: bool = False) -> None:
        self._doing = doing
        self._unit = unit
        self._quiet = quiet
        self._bar: Any = None
        self._first = 0
        self._start = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        """Shows that `done` of `total` are done; `total` is None while it is not known."""
        if self._quiet:
            return
        if sys.stderr.isatty():
            self._on_bar(done, total, note)
            return
        now = time.monotonic()
        if done > self._first and done != total and now - self._told >= LINE_SECONDS:
            self._told = now
            write(sys.stderr, self._line(done, total, note, (done - self._first) / (now - self._start)))

    def restart(self, first: int = 0) -> None:
        """Measures rate and time left from now on; `first` are done."""
        self._first = first
        self._start = self._told = time.monotonic()

    def say(self, line: str) -> None:
        """A line between."""
        if self._quiet:
            return
        if self._bar is None:
            write(sys.stderr, line)
        else:
            self._bar.write(line, file=sys.stderr)

    def _on_bar(self, done: int, total: int | None, note: str) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=self._first,
                unit=self._unit,
                desc=self._doing,
                dynamic_ncols=True,
                file=sys.stderr,
                smoothing=0.1,
            )
        self._bar.set_postfix_str(note, refresh=False)
        if self._bar.total != total:
            self._bar.total = total
            self._bar.refresh()
        self._bar.update(done - self._bar.n)

    def _line(self, done: int, total: int | None, note: str, per_second: float) -> str:
        told = f"{self._doing}: {done} {self._unit}s, {rate(per_second, self._unit)}"
        if total is not None:
            told = f"{self._doing}: {done} of {total} {self._unit}s, about {duration((total - done) / per_second)} left"
        return f"{told}; {note}" if note else told


class ConversionProgress(Progress):
    """A listener that shows how a conversion goes, and in debugging the tracebacks of errors in the program.

    Photos that need no drawing, or were tried before, count as none to do.

    Args:
        quiet: show no progress.
        debug: show tracebacks.
        each: print a line for each photo.
        bar: show how far it is; of what has no end, leave it out.
    """

    def __init__(self, *, quiet: bool = False, debug: bool = False, each: bool = False, bar: bool = True) -> None:
        super().__init__("Drawing", "photo", quiet=quiet)
        self._each = each
        self._shows_bar = bar
        self._debug = debug
        self._drawing = False
        self._photos: int | None = None
        self._tried = self._passed = self._without = 0
        self._pictures = Progress("Making small pictures of", "drawing", quiet=quiet)

    def counted(self, photos: int) -> None:
        """Takes the number of photos as the total."""
        self._photos = photos
        self.waiting()

    def engine_ready(self, engine: "Engine", workers: int) -> None:
        """Tells what draws, and begins."""
        by = f"{workers} worker{'s' * (workers != 1)}" if workers else "no workers"
        self.say(f"Drawing with {engine.name} on {engine.device} in {engine.precision}, {by}.")
        self._drawing = True
        self.restart(self._tried)
        self.waiting()

    def settled(self, outcome: "Outcome") -> None:
        """Counts a photo."""
        if self._debug and outcome.trace:
            write(sys.stderr, f"{outcome.source.name}:\n{outcome.trace}", one_line=False)
        if self._each:
            self.say(told(outcome))
        if outcome.status == "skipped" or outcome.remembered:
            self._passed += 1
        else:
            self._tried += 1
            self._without += outcome.error is not None
        self.waiting()

    def waiting(self) -> None:
        """Shows where things are."""
        if self._drawing and self._shows_bar:
            total = None if self._photos is None else max(self._photos - self._passed, self._tried)
            self(self._tried, total, f"{photos(self._without)} not drawn" if self._without else "")

    def stopping(self) -> None:
        """Tells that the end is near."""
        self.say(STOPPING)

    def picturing(self, done: int, total: int) -> None:
        """Shows how far a gallery is, below what was drawn."""
        self._pictures(done, total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pictures.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)


class TrainingProgress(Progress):
    """A listener that shows how a training run goes, with its losses."""

    def __init__(self) -> None:
        super().__init__("Training", "step")
        self._steps = 0

    def begun(self, step: int, steps: int) -> None:
        """The run starts, or goes on, at `step` of `steps`."""
        self._steps = steps
        self.restart(step)

    def stepped(self, step: int, losses: Mapping[str, float]) -> None:
        """Shows a step, with its losses."""
        self(step, self._steps, ", ".join(f"{name} {value:.3g}" for name, value in losses.items()))
