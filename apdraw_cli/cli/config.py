"""`apdraw config` as its user sees it."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from apdraw_cli.cli.common import command
from apdraw_cli.console import Console
from apdraw_cli.settings import NAME, Settings
from engines.errors import UsageError

EXAMPLES = f"""
Examples:
  apdraw config                          options of apdraw convert
  apdraw config train                    those of another command
  apdraw config --config studio.toml

{NAME}, in the current folder, or named with --config or APDRAW_CONFIG:
  device = "cuda"          # of every command that has such an option
  [convert]                # of one command
  faces = "all"
  exclude = ["*.gif", "raw"]

What is typed on the command line counts most, then the environment, then
the file.
"""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The value in force of one option.

    Attributes:
        option: its name, without the dashes in front.
        value: as it was said; of a default, the value or what it means.
        source: `default`, `environment` or `file`.
        where: the variable of the environment, or the file; None for a default.
        variable: the variable of the environment that would set it.
    """

    option: str
    value: Any
    source: str
    where: str | None
    variable: str


@dataclasses.dataclass(frozen=True)
class ConfigResult:
    """The settings in force for a command.

    Attributes:
        of: the command.
        file: the settings file; None if there is none.
        settings: its options.
    """

    of: str
    file: Path | None
    settings: tuple[Setting, ...]


@command(epilog=EXAMPLES)
def config(
    console: Console,
    context: typer.Context,
    of: Annotated[str, typer.Argument(metavar="COMMAND", help="Whose options to show.")] = "convert",
) -> int:
    """Shows the settings in force, and where each comes from."""
    return console.show(in_force(context.obj, of), _tell)


def in_force(settings: Settings, of: str) -> ConfigResult:
    """The settings in force for a command.

    Raises:
        UsageError: there is no such command.
    """
    if of not in settings.options:
        raise UsageError(f"there is no command {of}: name one of {', '.join(settings.options)}")
    said = settings.defaults.get(of, {})
    found = []
    for option in settings.options[of].values():
        value: Any = option.default
        source, where = "default", None
        if os.environ.get(option.variable):
            value, source, where = os.environ[option.variable], "environment", option.variable
        elif option.parameter in said:
            value, source, where = said[option.parameter], "file", str(settings.file)
        found.append(Setting(option.name, value, source, where, option.variable))
    return ConfigResult(of, settings.file, tuple(found))


def _tell(console: Console, result: ConfigResult) -> None:
    console.say(f"Options of apdraw {result.of}; settings file: {result.file or f'none (no {NAME} here)'}\n")
    rows = [(setting.option, _as_text(setting.value), setting.where or setting.source) for setting in result.settings]
    console.table([("option", "value", "from"), *rows], 0)


def _as_text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
