"""`apdraw doctor` as its user sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apdraw_cli.cli.common import command
from apdraw_cli.console import Console

if TYPE_CHECKING:
    from apdraw_cli.commands.doctor import Diagnosis

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

    return console.show(commands.doctor(model, output), _tell)


def _tell(console: Console, diagnosis: "Diagnosis") -> None:
    console.say(f"apdraw {diagnosis.version}, Python {diagnosis.python}, {diagnosis.system}")
    sections = (
        ("Engines", diagnosis.engines),
        ("GPU", diagnosis.gpu),
        ("Parts", diagnosis.parts),
        ("Folders", diagnosis.folders),
        ("Model", (diagnosis.model,) if diagnosis.model else ()),
        ("Trial", (diagnosis.sample,) if diagnosis.sample else ()),
    )
    for title, rows in sections:
        if rows:
            console.say(f"\n{title}")
        console.table([(row.name, row.version or "-", row.state) for row in rows])
    for title, optional in (("What is missing, and how to get it", False), ("Optional, and how to get it", True)):
        remedies: dict[str, str] = {}
        for row in (row for _, rows in sections for row in rows if row.remedy and row.optional is optional):
            remedies.setdefault(str(row.remedy), row.name)
        if remedies:
            console.say(f"\n{title}")
            console.table([(name, remedy) for remedy, name in remedies.items()])
    drawn_with = f"can draw here, with {diagnosis.picked}."
    console.say(f"\napdraw convert {f'cannot draw: {diagnosis.trouble}' if diagnosis.trouble else drawn_with}")
    for advice in () if diagnosis.trouble else diagnosis.advice:
        console.say(f"Next: {advice}")
