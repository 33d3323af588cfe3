"""`apdraw tidy` as its user sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apdraw_cli.cli.common import Quiet, command
from apdraw_cli.console import Console
from apdraw_cli.progress import Progress
from apdraw_cli.terminal_text import duration

if TYPE_CHECKING:
    from apdraw_cli.commands.tidy import TidyResult

EXAMPLES = """
Examples:
  apdraw tidy dataset pretrained.onnx tidied
  apdraw train tidied --stage pretrain --from pretrained --output again

A model that is not sure of a line's place to the pixel draws dashes and
specks. Joined, dropped and drawn whole, they make drawings that it can learn
from.
"""


@command(epilog=EXAMPLES)
def tidy(
    console: Console,
    *,
    dataset: Annotated[Path, typer.Argument(help="A data set that apdraw prepare made.")],
    model: Annotated[Path, typer.Argument(help="The generator that draws its portraits, .onnx or .safetensors.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the new data set.")],
    quiet: Quiet = False,
) -> int:
    """Makes a data set of a model's own drawings, tidied, to train on."""
    from apdraw_cli.commands import tidy as commands

    with Progress("Drawing and tidying", "portrait", quiet=quiet) as progress:
        result = commands.tidy(dataset, model, output, progress)
    return console.show(result, _tell)


def _tell(console: Console, result: "TidyResult") -> None:
    told = f"{result.portraits} portrait{'s' * (result.portraits != 1)}"
    console.say(f"{told} drawn and tidied in {duration(result.seconds)}. The data set is {result.output}")
