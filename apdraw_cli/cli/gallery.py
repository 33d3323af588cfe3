"""`apdraw gallery` as its user sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apdraw_cli.cli.common import Quiet, command
from apdraw_cli.console import Console
from apdraw_cli.progress import Progress
from apdraw_cli.terminal_text import duration

if TYPE_CHECKING:
    from apdraw_cli.commands.gallery import GalleryResult

EXAMPLES = """
Examples:
  apdraw gallery drawings                            drawings/index.html
  apdraw gallery drawings --photos /mnt/card/photos  photos that were moved

Open the page in a browser: photo and drawing with a slider between, search,
and filters by what there is to look at. It loads nothing from the network. To
pass it on, pack the whole folder.
"""


@command(epilog=EXAMPLES)
def gallery(
    console: Console,
    *,
    drawings: Annotated[
        Path, typer.Argument(metavar="DRAWINGS", help="The folder that apdraw convert wrote its drawings into.")
    ],
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos",
            metavar="FOLDER",
            help="Where the photos are, if they were moved.",
            show_default="where they were when they were drawn",
        ),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Writes a page to look through drawings and failures."""
    from apdraw_cli.commands import gallery as commands

    with Progress("Making small pictures of", "drawing", quiet=quiet) as progress:
        result = commands.gallery(drawings, photos, progress)
    return console.show(result, _tell)


def _tell(console: Console, result: "GalleryResult") -> None:
    told = "1 entry" if result.entries == 1 else f"{result.entries} entries"
    if result.without_photo:
        whose = "1 drawing" if result.without_photo == 1 else f"{result.without_photo} drawings"
        told += f", {whose} without the photo, gone or changed since (--photos names another folder)"
    console.say(f"{told}; {duration(result.seconds)}. Open {result.page}")
