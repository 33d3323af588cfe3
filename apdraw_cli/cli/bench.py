"""`apdraw bench` as its user sees it."""

from typing import TYPE_CHECKING, Annotated

import typer

from apdraw_cli.cli.common import command
from apdraw_cli.commands.options import BenchOptions, TimingOptions
from apdraw_cli.console import Console
from apdraw_cli.memory_limits import check_memory
from apdraw_cli.own_process import tune_process
from apdraw_cli.progress import Progress
from engines.options import EngineOptions, ModelOptions

if TYPE_CHECKING:
    from apdraw_cli.commands.bench import BenchResult
    from apdraw_cli.commands.bench_generator import Timing

EXAMPLES = """
Examples:
  apdraw bench photos                    the first 60 photos, three rounds
  apdraw bench photos --json > bench.json

Let nothing else run meanwhile. Nothing is left behind.
"""


@command(epilog=EXAMPLES)
def bench(
    console: Console,
    *,
    sources: Annotated[list[str], typer.Argument(metavar="PHOTOS...", help="Photos and folders to measure with.")],
    timing: TimingOptions,
    model: ModelOptions,
    engine: EngineOptions,
) -> int:
    """Measures how fast this machine draws, stage by stage, and how much of its own peak that is."""
    check_memory(console.warning)
    from apdraw_cli.commands import bench as commands

    tune_process()
    with Progress("Measuring", "round") as progress:
        result = commands.bench(BenchOptions(tuple(sources), model, timing, engine), progress)
    return console.show(result, _tell)


def _tell(console: Console, result: "BenchResult") -> None:
    peaks = ", ".join(f"{value:.0f} in {precision}" for precision, value in result.peaks.items())
    console.say(f"{result.cores} cores; GFLOP a second of a matrix product: {peaks}")
    console.say(f"\nThe generator alone, {result.gflop:.1f} GFLOP a portrait ({result.model.name})")
    console.table([_row(timing) for timing in result.generator])
    console.say(f"\nThe whole way, {result.photos} photos; seconds a photo by stage, several at work at once")
    console.table([(stage, f"{seconds:.3f}") for stage, seconds in result.stages.items()])
    console.say(
        f"\n{result.photos_per_second:.2f} photos a second ({result.slowest:.2f} to {result.fastest:.2f}), "
        f"{result.of_generator:.0%} of the generator alone"
    )
    if result.memory_bytes is not None:
        console.say(f"{result.memory_bytes / 1e9:.2f} GB of memory at most, all processes together")


def _row(timing: "Timing") -> tuple[str, str, str]:
    peak = f", {timing.of_peak:.0%} of the peak" if timing.of_peak is not None else ""
    extremes = f"{1000 * timing.fastest:.0f} to {1000 * timing.slowest:.0f}"
    return (
        f"{timing.engine} {timing.precision}",
        f"{1000 * timing.seconds:.0f} ms a portrait ({extremes})",
        f"{timing.gflops:.0f} GFLOP/s{peak}",
    )
