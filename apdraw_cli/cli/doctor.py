"""`apdraw doctor` as its user sees it."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apdraw_cli import __version__
from apdraw_cli.cli.common import command
from apdraw_cli.console import Console
from apdraw_cli.memory_limits import check_memory

if TYPE_CHECKING:
    from apdraw_cli.commands.doctor import Diagnosis
    from engines.installed import Part

EXAMPLES = """
Examples:
  apdraw doctor
  apdraw doctor --output drawings --model generator.engine
"""


@command(epilog=EXAMPLES)
def doctor(
    console: Console,
    model: Annotated[
        Path | None,
        typer.Option(help="Look at a model too: whether a .engine file fits this machine.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for drawings to try.", show_default="the current one"),
    ] = None,
) -> int:
    """Tries what is installed, draws a sample, and tells what to do about the rest."""
    from apdraw_cli.commands import doctor as commands

    console.say(f"apdraw {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")

    check_memory(console.warning)

    def tell(section: str, rows: "tuple[Part, ...] | None") -> None:
        if rows is None:
            console.say(f"\n{section}")
        else:
            console.table([(row.name, row.version or "-", row.state) for row in rows])

    return console.show(commands.doctor(model, output, tell), _tell)


def _tell(console: Console, diagnosis: "Diagnosis") -> None:
    """What is to be done, below what was found."""
    found = (*diagnosis.engines, *diagnosis.gpu, *diagnosis.parts, *diagnosis.folders)
    found = (*found, *(row for row in (diagnosis.model, diagnosis.sample) if row))
    for title, optional in (("What is missing, and how to get it", False), ("Optional, and how to get it", True)):
        remedies: dict[str, str] = {}
        for row in found:
            if row.remedy and row.optional is optional:
                remedies.setdefault(row.remedy, row.name)
        if remedies:
            console.say(f"\n{title}")
            console.table([(name, remedy) for remedy, name in remedies.items()])
    drawn_with = f"can draw here, with {diagnosis.picked}."
    console.say(f"\napdraw convert {f'cannot draw: {diagnosis.trouble}' if diagnosis.trouble else drawn_with}")
    for advice in () if diagnosis.trouble else diagnosis.advice:
        console.say(f"Next: {advice}")
