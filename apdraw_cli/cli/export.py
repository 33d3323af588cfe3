"""`apdraw export` as its user sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apdraw_cli.cli.common import command
from apdraw_cli.commands.options import ExportOptions
from apdraw_cli.console import Console

if TYPE_CHECKING:
    from apdraw_cli.commands.export import ExportResult

EXAMPLES = """
Examples:
  apdraw export author.safetensors author.onnx
  apdraw export author.safetensors author.int8.onnx --precision int8 \\
    --calibration dataset

The first of these writes author.fp16.onnx too. apdraw convert --model
author.onnx draws with that on a GPU, and with author.int8.onnx where the
processor is fast in 8 bits.
"""


@command(epilog=EXAMPLES)
def export(
    console: Console,
    model: Annotated[Path, typer.Argument(help="A .safetensors file.")],
    onnx: Annotated[Path, typer.Argument(help="The .onnx file to write.")],
    options: ExportOptions,
) -> int:
    """Exports a model as ONNX files, which engines draw without torch: one for CPUs, one in half precision for GPUs."""
    from apdraw_cli.commands import export as commands

    return console.show(commands.export(model, onnx, options), _tell)


def _tell(console: Console, result: "ExportResult") -> None:
    about = result.metadata
    precision = about["precision"]
    console.say(f"Wrote {result.onnx}: {result.size / 1e6:.1f} MB, {precision}.")
    if precision == "fp32":
        taken = "bf16" in about["precisions"].split()
        verdict = "auto takes it where the processor has it" if taken else "too far for auto to take it"
        console.say(f"  in bf16 grey levels from fp32: {about['bf16_difference']}; {verdict}")
    if precision == "fp16":
        console.say(f"  in half precision: {', '.join(about['half_networks'].split())}")
        console.say(f"  grey levels from fp32, tried on portraits: {about['half_difference']}")
    if precision == "int8":
        console.say(f"  from fp32, tried on portraits: {about['int8_difference']}")
    if result.half:
        _tell(console, result.half)
    if result.no_half:
        console.say(f"  none in fp16, so GPUs will draw in fp32 too: {result.no_half}")
