"""`apdraw evaluate` as its user sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apdraw_cli.cli.common import command
from apdraw_cli.commands.options import EvaluateOptions, MeasureOptions
from apdraw_cli.console import Console
from apdraw_cli.progress import Progress
from apdraw_cli.terminal_text import MOST_LISTED
from engines.options import EngineOptions

if TYPE_CHECKING:
    from apdraw_cli.commands.evaluate import EvaluateResult

EXAMPLES = """
Examples:
  apdraw evaluate run/generator.safetensors dataset
  apdraw evaluate generator.onnx dataset --output evaluation --json
  apdraw evaluate others/results/images dataset   drawings made elsewhere

Drawings made elsewhere are named like the portraits. Measured against the
data set's own drawings: L1, SSIM, the paper's Chamfer distance and FID; and
the share of two-tone pixels, and the brightness outside the person. FID needs
the extra fid, and weights that are downloaded once; where there is no
network, name them with --features.

Exit codes:
  0    all portraits were measured
  1    some were not; a table names them
  2    the command was used wrongly, or there was nothing to measure
  3    this machine or the model is not fit for it, or FID was asked for and
       cannot be had
  130  interrupted
"""


@command(epilog=EXAMPLES)
def evaluate(
    console: Console,
    *,
    model: Annotated[
        Path, typer.Argument(help="A generator, .safetensors or .onnx, or a folder of drawings made elsewhere.")
    ],
    dataset: Annotated[Path, typer.Argument(help="A data set with drawings.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for worst.png, the ten worst drawings, and evaluation.json.",
            show_default=False,
        ),
    ] = None,
    measure: MeasureOptions,
    engine: EngineOptions,
) -> int:
    """Measures how close a model's drawings come to a data set's own."""
    from apdraw_cli.commands import evaluate as commands

    options = EvaluateOptions(model, dataset, output, measure, engine)
    with Progress("Evaluating", "portrait") as progress:
        result, sheet = commands.evaluate(options, progress)
    code = console.show(result, _tell)
    if output is None:
        console.say("--output DIR shows these as a picture.")
    else:
        commands.save(result, sheet, output)
        console.say(f"These as a picture, and all numbers, are in {output}")
    return code


def _tell(console: Console, result: "EvaluateResult") -> None:
    mean = result.mean
    console.say(
        f"{result.model} on {result.dataset}, split {result.split}: "
        f"measured {result.measured} of {result.split_portraits} portraits"
        + (f", drawn with {result.engine}" if result.engine else "")
    )
    console.say()
    console.table(
        [
            ("Mean over portraits", "drawings", "data set's own"),
            ("  L1, 0 to 1, lower is better", f"{mean.l1:.4f}", ""),
            ("  SSIM, up to 1, higher is better", f"{mean.ssim:.4f}", ""),
            ("  Chamfer distance in pixels, lower is better", f"{mean.chamfer:.2f}", ""),
            ("  Two-tone pixels", f"{mean.two_tone:.1%}", f"{mean.reference_two_tone:.1%}"),
            ("  Background, 0 to 255", _level(mean.background), _level(mean.reference_background)),
        ],
        0,
    )
    console.say()
    fid = "not measured" if result.fid is None else f"{result.fid:.2f}"
    paper = [(f"  {method}", f"{value:.2f}") for method, value in result.paper_fid.items()]
    console.table([("FID, lower is better", ""), ("  these drawings", fid), *paper], 0)
    console.say(
        "All but the first are the paper's (Table 1), over its 70 test pairs: only FIDs over those compare with them."
    )
    for note in result.fid_notes:
        console.say(note)
    console.say()
    chamfer = {portrait.name: portrait.scores.chamfer for portrait in result.portraits}
    console.say(f"Largest Chamfer distances: {', '.join(f'{name} ({chamfer[name]:.2f})' for name in result.worst)}")
    if result.left_out:
        console.say("Not measured:")
        console.table([(left.name, left.reason) for left in result.left_out[:MOST_LISTED]])
        if len(result.left_out) > MOST_LISTED:
            console.say(f"  and {len(result.left_out) - MOST_LISTED} more: --json names them")


def _level(brightness: float | None) -> str:
    return "-" if brightness is None else f"{brightness:.1f}"
