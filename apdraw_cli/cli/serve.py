"""`apdraw serve` as its user sees it."""

import sys
from typing import TYPE_CHECKING

from apdraw_cli.cli.common import Quiet, command
from apdraw_cli.commands.options import ServeOptions
from apdraw_cli.console import Console
from apdraw_cli.conversion.options import FaceOptions, FileOptions, PageOptions
from apdraw_cli.memory_limits import check_memory
from apdraw_cli.own_process import tune_process
from apdraw_cli.terminal_text import duration, photos, write
from engines.options import EngineOptions, ModelOptions

if TYPE_CHECKING:
    from apdraw_cli.commands.serve import ServeResult
    from engines.base import Engine

EXAMPLES = """
Examples:
  apdraw serve
  apdraw serve --port 8080 --max-upload 50 --queue 200

Then, from anywhere on this machine:
  curl --data-binary @me.jpg http://127.0.0.1:8000/draw -o me.png
  curl --data-binary @me.jpg '127.0.0.1:8000/draw?format=svg' -o me.svg
  curl -F photo=@me.jpg 'http://127.0.0.1:8000/draw?json=true'

/docs describes all that can be asked for, /openapi.json does so for programs,
/health tells whether it draws. Anyone who reaches the address may draw: there
are no passwords and no encryption.
"""


@command(epilog=EXAMPLES)
def serve(
    console: Console,
    *,
    serving: ServeOptions,
    file: FileOptions,
    page: PageOptions,
    quiet: Quiet = False,
    faces: FaceOptions,
    model: ModelOptions,
    engine: EngineOptions,
) -> int:
    """Draws photos over HTTP."""
    check_memory(console.warning)
    from apdraw_cli.commands import serve as commands

    tune_process()

    def ready(address: str, engine: "Engine") -> None:
        if not quiet:
            write(sys.stderr, f"Drawing at {address}/draw with {engine.name} on {engine.device}; see {address}/docs")

    result = commands.serve(commands.ServerOptions(serving, file, page, faces, model, engine), ready)
    code = console.show(result, _tell)
    if result.error is not None:
        console.error(result.error)
    return code


def _tell(console: Console, result: "ServeResult") -> None:
    refused = f", {result.refused} requests refused" if result.refused else ""
    console.say(f"{photos(result.drawn)} drawn{refused} in {duration(result.seconds)}.")
