"""`apdraw bench`: how fast this machine draws, stage by stage, and how much of its own peak it uses."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Final

from apdraw_cli.commands.bench_memory import PeakMemory
from apdraw_cli.commands.convert import convert, generator_engine, retinaface_extractor
from apdraw_cli.commands.options import BenchOptions
from apdraw_cli.conversion.listener import Silent
from apdraw_cli.conversion.options import ConvertOptions, FaceOptions
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.portraits import prepare_file
from apdraw_cli.conversion.sources import Source, gather
from engines.errors import PhotoError, UnfitError, UsageError
from engines.options import EngineOptions

if TYPE_CHECKING:
    from apdraw_cli.commands.bench_peak import MatrixProduct
    from engines.base import Engine
    from engines.portrait import Portrait

PORTRAITS: Final = 8
"""So many portraits are drawn over and over to time the generator alone."""

LEAST_SECONDS: Final = 1.0
"""How long an engine is timed at least; in less, how long a call takes is a matter of chance."""


@dataclass(frozen=True)
class Timing:
    """The generator alone, in one engine and precision.

    Attributes:
        engine: name of the engine.
        device: what it drew on.
        precision: what it computed in.
        seconds: seconds for a portrait, median of the rounds.
        fastest: seconds for a portrait in the fastest round.
        slowest: seconds for a portrait in the slowest round.
        gflops: GFLOP a second.
        of_peak: share of this machine's peak in that precision; None where that was not measured.
    """

    engine: str
    device: str
    precision: str
    seconds: float
    fastest: float
    slowest: float
    gflops: float
    of_peak: float | None


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
    from joblib import cpu_count

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
            generator = generator or _Generator(options.engine, model, _portraits(photos))
            generator.time(least_seconds)
            progress(done + 1, options.timing.rounds)
    assert generator is not None
    generator.close()
    speeds = [run.photos_per_second for run in runs]
    alone = generator.seconds[0]
    return BenchResult(
        model=model,
        cores=cpu_count(),
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


class _Generator:
    """The generator alone, in every engine that can draw it here.

    Args:
        options: what draws in a conversion.
        model: the generator's file.
        portraits: to draw.

    Attributes:
        gflop: GFLOP for one portrait.
        seconds: seconds for a portrait, by engine (the one that a conversion takes first) and round.

    Raises:
        UnfitError: no engine can draw the model.
    """

    def __init__(self, options: EngineOptions, model: Path, portraits: "list[Portrait]") -> None:
        from apdraw_cli.commands.bench_peak import gflop_per_portrait

        self.gflop = gflop_per_portrait(model)
        self._engines = _engines(model, generator_engine(options, model))
        self._portraits = portraits
        self._products = _products()
        self.seconds: list[list[float]] = [[] for _ in self._engines]
        self._gflops: dict[str, list[float]] = {precision: [] for precision in self._products}

    def time(self, least_seconds: float) -> None:
        """Times a round: all engines, each so many seconds at least, and this machine's peaks."""
        for precision, product in self._products.items():
            self._gflops[precision].append(max(product.gflops() for _ in range(3)))
        for engine, seconds in zip(self._engines, self.seconds, strict=True):
            seconds.append(seconds_a_portrait(engine, self._portraits, least_seconds))

    def peaks(self) -> dict[str, float]:
        """GFLOP a second of a matrix product, by precision."""
        return {precision: median(values) for precision, values in self._gflops.items()}

    def timings(self) -> list[Timing]:
        """Of all rounds, by engine."""
        return [
            _timing(engine, seconds, self.gflop, self.peaks())
            for engine, seconds in zip(self._engines, self.seconds, strict=True)
        ]

    def close(self) -> None:
        """Closes the engines."""
        for engine in self._engines:
            engine.close()


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


def _engines(model: Path, default: "Engine") -> "list[Engine]":
    """The engine that `apdraw convert` takes, then the others in each precision that they can draw the model in."""
    from engines.registry import backends

    engines = [default]
    for backend in backends():
        for precision in backend.precisions:
            if (backend.name, precision) != (default.name, default.precision):
                options = EngineOptions(engine=backend.name, precision=precision)
                with contextlib.suppress(UnfitError):  # not here
                    engines.append(generator_engine(options, model))
    return engines


def _products() -> "dict[str, MatrixProduct]":
    from apdraw_cli.commands.bench_peak import MatrixProduct
    from engines.errors import EngineError

    products = {}
    for precision in ("fp32", "bf16", "int8"):
        try:
            products[precision] = MatrixProduct(precision)
        except EngineError:
            continue  # nothing is computed in it either
    return products


def seconds_a_portrait(
    engine: "Engine", portraits: "Sequence[Portrait]", least_seconds: float = LEAST_SECONDS
) -> float:
    """As a conversion calls the engine: full batches, on as many threads as it asks for, so many seconds at least."""
    from engines.portrait import PortraitBatch

    size, threads = engine.batch_size, engine.concurrency
    following = cycle(portraits)

    def seconds(calls: int) -> float:
        batches = [PortraitBatch.of(list(islice(following, size))) for _ in range(calls)]
        start = time.perf_counter()
        list(pool.map(engine.draw, batches))
        return time.perf_counter() - start

    with ThreadPoolExecutor(threads) as pool:
        seconds(threads)  # the first call takes memory
        calls = threads * max(1, -(-len(portraits) // (size * threads)))
        while (taken := seconds(calls)) < least_seconds:
            calls *= 2
    return taken / (calls * size)


def _timing(engine: "Engine", seconds: Sequence[float], gflop: float, peaks: dict[str, float]) -> Timing:
    middle = median(seconds)
    gflops = gflop / middle
    peak = peaks.get(engine.precision) if engine.device == "cpu" else None
    return Timing(
        engine=engine.name,
        device=engine.device,
        precision=engine.precision,
        seconds=round(middle, 4),
        fastest=round(min(seconds), 4),
        slowest=round(max(seconds), 4),
        gflops=round(gflops, 1),
        of_peak=round(gflops / peak, 3) if peak else None,
    )


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
