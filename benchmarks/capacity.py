"""Plans machines: photos a second of so many cores and GPUs, from what a photo costs at each station.

    python -m benchmarks.capacity PHOTO ... [--cores 8 16 64] [--cards L4 "RTX 4090"] [--processes 2]
        [--model M.fp16.onnx] [--check]

What a photo costs is measured here: in worker processes, on its way through the main process, and, where the CPU draws,
drawing. How fast a GPU draws is computed from the kernels of its engine (`benchmarks.kernels`).
`--check` converts the photos with 1 and 2 workers, and compares. docs/capacity.md tells how to read it.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil

from apdraw_cli.commands.convert import convert, generator_engine
from apdraw_cli.conversion.listener import Silent
from apdraw_cli.conversion.options import ConvertOptions
from benchmarks import pipeline_ceiling
from benchmarks.kernels import CARDS, Kernel, kernels_of, portraits_per_second, tell
from engines.base import GPU_BATCH_SIZE, Engine
from engines.options import EngineOptions
from engines.select import TWINS, shipped_model
from engines.synthetic import synthetic_portraits

OF_ROOFLINE: Final = 0.7
"""The share of its roofline that an engine reaches in practice; a guess until a GPU has shown it."""

UNDER_LOCK: Final = 0.42
"""The share of the main process's time in which it holds Python's global lock, so that no other thread of it works."""


@dataclass(frozen=True)
class Costs:
    """What a photo with one face costs, in seconds of processor time where nothing else is said.

    Attributes:
        prepare: in worker processes: preparing it and encoding its pages.
        main: in the main process, its drawing left out.
        wait: that a worker waits for its next task; no processor time.
        draw: drawing on the CPU; 0 where GPUs draw.
    """

    prepare: float
    main: float
    wait: float = 0.0
    draw: float = 0.0


@dataclass(frozen=True)
class Capacity:
    """What a machine does, and which part of it is the narrowest."""

    photos_per_second: float
    narrowest: str


def capacity(costs: Costs, cores: int, workers: int, gpus: float | None = None, processes: int = 1) -> Capacity:
    """The photos a second of a machine: those of its narrowest part.

    Args:
        costs: of a photo.
        cores: of the processor, all at one speed.
        workers: processes that prepare photos and encode drawings.
        gpus: portraits a second of all GPUs together; None where the CPU draws.
        processes: that draw a shard each.
    """
    limits = {
        "cores": cores / (costs.prepare + costs.main + costs.draw),
        "workers": workers / (costs.prepare + costs.wait),
        "main process": processes / (costs.main * UNDER_LOCK),
    }
    if gpus is not None:
        limits["GPUs"] = gpus
    narrowest = min(limits, key=lambda name: limits[name])
    return Capacity(limits[narrowest], narrowest)


def measured(photos: Sequence[Path], count: int) -> Costs:
    """What these photos cost here, drawn on no CPU.

    One worker is the narrowest part then, so that what is left of its time it waits.
    """
    ceiling = pipeline_ceiling.measure(photos, 1, count)
    wait = max(0.0, 1 / ceiling.photos_per_second - ceiling.worker_seconds)
    return Costs(ceiling.worker_seconds, ceiling.main_seconds, wait)


def drawing_cost(engine: Engine) -> float:
    """Seconds of processor time that an engine takes for a portrait, called as a conversion does."""
    batch = synthetic_portraits(engine.batch_size)

    def seconds(calls: int) -> float:
        start = time.process_time()
        list(pool.map(engine.draw, itertools.repeat(batch, calls)))
        return (time.process_time() - start) / (calls * len(batch))

    with ThreadPoolExecutor(engine.concurrency) as pool:
        seconds(engine.concurrency)  # the first call takes memory
        return seconds(10 * engine.concurrency)


def table(
    costs: Costs, kernels: tuple[Kernel, ...], cores: Sequence[int], cards: Sequence[str], processes: int = 1
) -> list[str]:
    """Lines of Markdown: photos a second, and the share of the time that one card is busy."""
    rows = [f"| cores | {' | '.join(cards)} | narrowest |", "|---" * (len(cards) + 2) + "|"]
    for count in cores:
        cells, narrow = [], []
        for card in cards:
            alone = OF_ROOFLINE * portraits_per_second(kernels, CARDS[card], GPU_BATCH_SIZE)
            found = capacity(costs, count, max(1, count - 1), alone, processes)
            cells.append(f"{found.photos_per_second:,.0f} /s, {found.photos_per_second / alone:.0%}")
            narrow.append(found.narrowest)
        rows.append(f"| {count} | {' | '.join(cells)} | {', '.join(dict.fromkeys(narrow))} |")
    return rows


def check(photos: Sequence[Path], costs: Costs, count: int, say: Callable[[str], None] = tell) -> None:
    """Compares what `capacity` tells with conversions here: with the engine that is taken here, and with none."""
    cores = len(psutil.Process().cpu_affinity())
    engine = generator_engine(EngineOptions(device="cpu"), shipped_model())
    drawn = replace(costs, draw=drawing_cost(engine))
    engine.close()
    say(f"drawing on the CPU: {1e3 * drawn.draw:.1f} ms of processor time a portrait")
    say("| workers | engine | told | measured | off by |")
    say("|---|---|---|---|---|")
    for workers in (1, 2):
        for name, cost, found in (
            ("none", costs, pipeline_ceiling.measure(photos, workers, count).photos_per_second),
            (engine.name, drawn, _converted(photos, workers)),
        ):
            told = capacity(cost, cores, workers).photos_per_second
            say(f"| {workers} | {name} | {told:.1f} /s | {found:.1f} /s | {told / found - 1:+.0%} |")


def _converted(photos: Sequence[Path], workers: int) -> float:
    with tempfile.TemporaryDirectory(prefix="apdraw-capacity-") as scratch:
        names = [str(photo) for photo in photos]
        options = ConvertOptions.of(*names, output=Path(scratch) / "out", workers=workers, device="cpu")
        return convert(options, Silent()).photos_per_second


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity")
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO")
    parser.add_argument("--photos", type=int, default=400, dest="count", help="measure with so many, over and over")
    parser.add_argument("--cores", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--cards", nargs="+", default=list(CARDS), choices=CARDS)
    parser.add_argument("--processes", type=int, default=1, help="that draw a shard each, on the same card")
    parser.add_argument("--model", type=Path, default=shipped_model().with_suffix(TWINS["fp16"]))
    parser.add_argument("--compute-capability", default="8.9")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    costs = measured(given.photos, given.count)
    tell(
        f"a photo takes {1e3 * costs.prepare:.1f} ms in a worker, which waits {1e3 * costs.wait:.1f} ms for the next, "
        f"and {1e3 * costs.main:.2f} ms in the main process"
    )
    if given.check:
        check(given.photos, costs, given.count)
    kernels = kernels_of(given.model, GPU_BATCH_SIZE, given.compute_capability)
    for line in table(costs, kernels, given.cores, given.cards, given.processes):
        tell(line)


if __name__ == "__main__":
    main()
