"""Times the generator alone, in every engine that can draw it here, beside products of matrices as the CPU's peak."""

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from apdraw_cli.commands.convert import generator_engine
from engines.errors import UnfitError
from engines.options import EngineOptions

if TYPE_CHECKING:
    from apdraw_cli.commands.bench_peak import MatrixProduct
    from engines.base import Engine
    from engines.portrait import Portrait

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


class GeneratorTimes:
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
