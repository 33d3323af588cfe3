"""`apdraw prepare` as its user sees it."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from apdraw_cli.cli.common import PlainCommand, command
from apdraw_cli.console import Console
from apdraw_cli.datasets.options import Npr, PairOptions, PrepareOptions, PrepareResult
from apdraw_cli.memory_limits import check_memory
from apdraw_cli.own_process import tune_process
from apdraw_cli.progress import Progress
from apdraw_cli.terminal_text import MOST_LISTED

EXAMPLES = """
Examples:
  apdraw prepare photos dataset --drawings drawings   an artist's drawings
  apdraw prepare photos dataset --npr                 drawn along face meshes
  apdraw prepare photos dataset --npr filter          drawn by a tone filter

drawings/ann.png belongs to photos/ann.jpg. A drawing of the photo's shape, at
any size, is laid where the photo lies. Others, and those that fit badly, are
moved, turned and scaled onto their photo; what still does not match is left
out. Look at contact-sheet.jpg in the data set before training.

Run the same command again to go on after an interruption, or to take up what
is new or has changed. The folders inside PHOTOS are not read. The authors'
own data set needs no preparing: give its folder to apdraw train.
"""


class BareNpr(PlainCommand):
    """A command whose `--npr` may stand without a value, which Typer's options cannot."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Gives `--npr` its first value where none follows."""
        values = get_args(Npr)
        end = args.index("--") if "--" in args else len(args)
        for index in reversed(range(end)):
            if args[index] == "--npr" and (index + 1 == len(args) or args[index + 1] not in values):
                args = [*args[: index + 1], values[0], *args[index + 1 :]]
        return super().parse_args(ctx, args)


@command(epilog=EXAMPLES, kind=BareNpr)
def prepare(
    console: Console,
    photos: Annotated[Path, typer.Argument(help="A folder of photos.")],
    dataset: Annotated[Path, typer.Argument(help="The folder to write.")],
    pairs: PairOptions,
) -> int:
    """Makes a training set out of photos: aligned portraits, landmarks, masks and drawings."""
    check_memory(console.warning)
    from apdraw_cli.commands import prepare as commands

    tune_process()
    with Progress("Preparing", "photo") as progress:
        result = commands.prepare(PrepareOptions(photos, dataset, pairs), progress)
    return console.show(result, _tell)


def _tell(console: Console, result: PrepareResult) -> None:
    if result.left_out:
        console.say("Left out:")
        first = result.left_out[:MOST_LISTED]
        console.table([(each.name, each.reason, each.detail) for each in first])
        if len(result.left_out) > len(first):
            more = len(result.left_out) - len(first)
            console.say(f"  and {more} more: {result.dataset / 'index.jsonl'} names them")
        for reason, times in result.reasons.items():
            console.say(f"{times} left out: {reason}")
    if result.unread:
        named = ", ".join(result.unread[:MOST_LISTED]) + ", ..." * (len(result.unread) > MOST_LISTED)
        console.say(f"Not looked into, prepare each by itself: {named}")
    count = f"{result.prepared} portrait{'s' * (result.prepared != 1)}"
    if result.interrupted:
        console.say(f"Interrupted: {count} finished are kept, and the same command goes on from here.")
        return
    notes = [f"{result.kept} from before"] if result.kept else []
    notes += [f"{result.registered} with a drawing moved onto the photo"] if result.registered else []
    console.say(f"Prepared {count} in {result.dataset}" + (f" ({', '.join(notes)})" if notes else ""))
    if result.contact_sheet:
        console.say(f"Look at {result.contact_sheet} before training.")
