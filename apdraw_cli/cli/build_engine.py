"""`apdraw build-engine` as its user sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apdraw_cli.cli.common import command
from apdraw_cli.console import Console
from apdraw_cli.progress import Progress
from apdraw_cli.terminal_text import duration
from engines.options import BuildOptions

if TYPE_CHECKING:
    from apdraw_cli.commands.build_engine import BuildResult

EXAMPLES = """
Examples:
  apdraw build-engine author.safetensors author.engine
  apdraw build-engine author16.onnx author.engine --batch-size 32
  apdraw build-engine author16.onnx author.engine --compute-capability 8.6,8.9
  apdraw convert photos --model author.engine

Without --compute-capability it is for the GPU here. An engine is code for
one version of TensorRT, the kinds of GPU named, and one operating system;
OUT.engine.json beside it tells which, and has to stay with it. Use no engine
of a source that you would not run programs of. TensorRT for RTX builds
without a GPU; TensorRT needs the GPU that is to draw.
"""


@command(epilog=EXAMPLES, name="build-engine")
def build_engine(
    console: Console,
    model: Annotated[Path, typer.Argument(help="An .onnx file, or a .safetensors file, exported on the way.")],
    engine: Annotated[Path, typer.Argument(metavar="OUT.engine", help="The file to write; a sidecar comes beside it.")],
    options: BuildOptions,
) -> int:
    """Builds a TensorRT engine for one or more kinds of NVIDIA GPU, and tries it where one is."""
    from apdraw_cli.commands import build_engine as commands

    with Progress("Building", "step") as progress:
        result = commands.build(model, engine, options, progress)
    return console.show(result, _tell)


def _tell(console: Console, result: "BuildResult") -> None:
    sidecar, layers = result.sidecar, result.sidecar.layers
    size = f"{result.size / 1e6:.1f} MB, {sidecar.precision}, built in {duration(result.seconds)}"
    console.say(f"Wrote {result.engine}: {size}; {result.sidecar_file.name} beside it has to stay with it.")
    capabilities = ", ".join(sidecar.compute_capabilities)
    console.say(f"  runs with {sidecar.flavor} {sidecar.version} on {sidecar.platform}, GPUs of {capabilities}")
    console.say(f"  batches of 1 to {sidecar.batch_size}, the fastest of {sidecar.batch_size}")
    half, single = (layers.get(f"CONVOLUTION {dtype}", 0) for dtype in ("HALF", "FLOAT"))
    console.say(f"  convolutions: {half} in half precision, {single} in single")
    if result.trial is None:
        console.say(f"  not tried: {result.not_tried}")
        return
    trial = result.trial
    difference = f"{trial.largest_difference} at most, {trial.mean_difference:.3f} on average"
    console.say(f"  grey levels from ONNX Runtime's drawings, on {trial.device}: {difference}")
    for latency in trial.latencies:
        times = f"{latency.p50:.1f} ms, 90 % under {latency.p90:.1f}, 99 % under {latency.p99:.1f}"
        console.say(f"  a batch of {latency.batch_size} takes {times}")
