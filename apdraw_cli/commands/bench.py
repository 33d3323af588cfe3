"""`apdraw bench`: how fast this machine draws, stage by stage, and how much of its own peak it uses."""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Final

from apdraw_cli.commands.bench_generator import LEAST_SECONDS, GeneratorTimes, Timing
from apdraw_cli.commands.bench_memory import PeakMemory
from apdraw_cli.commands.convert import convert, retinaface_extractor
from apdraw_cli.commands.options import BenchOptions
from apdraw_cli.conversion.gather import gather
from apdraw_cli.conversion.listener import Silent
from apdraw_cli.conversion.options import ConvertOptions, FaceOptions
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.portraits import prepare_file
from apdraw_cli.conversion.sources import Source
from engines.cpu import usable_cores
from engines.errors import PhotoError, UnfitError, UsageError

if TYPE_CHECKING:
    from engines.portrait import Portrait

PORTRAITS: Final = 8
"""So many portraits are drawn over and over to time the generator alone."""


@dataclass(frozen=True)
class BenchResult:
    """What was measured.

    Attributes:
        model: the generator's file.
        cores: number of cores that this process may use.
        gflop: GFLOP that the generator takes for one portrait.
        peaks: GFLOP a second of a matrix product on the CPU, by precision; median of the rounds.
        generator: times of the generator alone, the fastest engine first.
        photos: number of photos converted in a round.
        stages: seconds for a photo, by stage, in the fastest round; several photos are at work at once.
        photos_per_second: photos a second of the whole conversion with an open engine, median of the rounds.
        fastest: photos a second in the fastest round.
        slowest: photos a second in the slowest round.
        of_generator: share of the speed that the engine has alone in the same round, median of the rounds.
        memory_bytes: bytes of memory of all processes together at most, in the first round, shared memory counted
            once; None if that cannot be told here.
    """

    model: Path
    cores: int
    gflop: float
    peaks: dict[str, float]
    generator: tuple[Timing, ...]
    photos: int
    stages: dict[str, float]
    photos_per_second: float
    fastest: float
    slowest: float
    of_generator: float
    memory_bytes: int | None


def bench(
    options: BenchOptions,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    least_seconds: float = LEAST_SECONDS,
) -> BenchResult:
    """Measures; conversion and engines are timed in turn, round by round, so that a busy moment hits all alike.

    Args:
        options: what to measure.
        progress: is told after each round how many are done, and of how many.
        least_seconds: how long each engine is timed in a round, at least.

    Raises:
        UsageError: there is no photo, none of them can be drawn, or the model is no `.onnx` file.
        UnfitError: no engine can draw the model.
    """
    model = options.model.path
    if model.suffix.lower() != ".onnx":
        raise UsageError(f"{model} is no .onnx file, whose work can be counted: make one with apdraw export")
    runs: list[_Run] = []
    generator = None
    with tempfile.TemporaryDirectory(prefix="apdraw-bench-") as scratch:
        sources = gather(options.sources, (), Path(scratch) / "out")
        photos = list(islice(sources.photos("", several=False), options.timing.limit))
        if not photos:
            raise UsageError("there is no photo to measure with: name a folder of photos")
        for done in range(options.timing.rounds):
            runs.append(_converted([photo.path for photo in photos], options, Path(scratch) / str(done)))
            # Opened after the first conversion, which so takes no more memory than one does, and timed just after
            # each, for both to have the same moment of a shared machine.
            generator = generator or GeneratorTimes(options.engine, model, _portraits(photos))
            generator.time(least_seconds)
            progress(done + 1, options.timing.rounds)
    assert generator is not None
    generator.close()
    speeds = [run.photos_per_second for run in runs]
    alone = generator.seconds[0]
    return BenchResult(
        model=model,
        cores=usable_cores(),
        gflop=round(generator.gflop, 1),
        peaks={precision: round(peak, 1) for precision, peak in generator.peaks().items()},
        generator=tuple(sorted(generator.timings(), key=lambda timing: timing.seconds)),
        photos=runs[0].photos,
        stages=max(runs, key=lambda run: run.photos_per_second).stages,
        photos_per_second=round(median(speeds), 2),
        fastest=round(max(speeds), 2),
        slowest=round(min(speeds), 2),
        of_generator=round(median(speed * seconds for speed, seconds in zip(speeds, alone, strict=True)), 3),
        memory_bytes=runs[0].memory,
    )


@dataclass(frozen=True)
class _Run:
    photos: int
    photos_per_second: float
    stages: dict[str, float]
    memory: int | None


class _Watch(Silent):
    """Collects the seconds of each photo that was drawn."""

    def __init__(self) -> None:
        self.seconds: list[dict[str, float]] = []

    def settled(self, outcome: Outcome) -> None:
        """See `Listener`."""
        if outcome.status == "done":
            self.seconds.append(outcome.seconds)


def _portraits(photos: Sequence[Source]) -> "list[Portrait]":
    extractor = retinaface_extractor(FaceOptions())
    found: list[Portrait] = []
    for photo in photos:
        with contextlib.suppress(PhotoError):
            prepared = prepare_file(photo.storage, photo.name, FaceOptions(), extractor, {})
            found += [each.portrait for each in prepared.portraits]
        if len(found) >= PORTRAITS:
            break
    return (found * PORTRAITS)[:PORTRAITS]


def _converted(photos: Sequence[str], options: BenchOptions, output: Path) -> _Run:
    watch, memory = _Watch(), PeakMemory()
    with memory:
        result = convert(
            ConvertOptions(tuple(photos), output=output, model=options.model, engine=options.engine), watch
        )
    if result.error is not None:
        raise UnfitError(result.error)
    if not result.done:
        raise UsageError("none of these photos could be drawn: name others")
    stages = watch.seconds[0]  # the same in all
    means = {stage: round(fmean(seconds[stage] for seconds in watch.seconds), 4) for stage in stages}
    return _Run(result.done, result.photos_per_second, means, memory.most)
