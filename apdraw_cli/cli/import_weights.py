"""`apdraw import-weights` as its user sees it."""

from pathlib import Path
from typing import Annotated

import typer

from apdraw_cli.cli.common import command
from apdraw_cli.commands.options import ImportOptions
from apdraw_cli.console import Console

EXAMPLES = """
Examples:
  apdraw import-weights checkpoints/formal author.safetensors
  apdraw convert photos --model author.safetensors --engine torch
"""


@command(epilog=EXAMPLES, name="import-weights")
def import_weights(
    console: Console,
    checkpoint: Annotated[
        Path, typer.Argument(help="EPOCH_net_gen.pt, or a folder with it or with EPOCH_net_NETWORK.pth files.")
    ],
    model: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    options: ImportOptions,
) -> int:
    """Imports a checkpoint of the authors' program as a model of this one."""
    from apdraw_cli.commands import import_weights as commands

    result = commands.import_weights(checkpoint, model, options)
    code = console.show(result)
    console.say(f"Wrote {result.model}: {result.parameters:,} weights.")
    return code
