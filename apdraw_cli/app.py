"""The program `apdraw`: its commands, and what becomes of an error that ends one."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from apdraw_cli import __version__
from apdraw_cli.cli import (
    bench,
    build_engine,
    config,
    convert,
    doctor,
    evaluate,
    export,
    gallery,
    import_weights,
    prepare,
    serve,
    tidy,
    train,
    version,
)
from apdraw_cli.cli.common import PlainFlags, WholeCommandLine, asks_for_json, reporting, wants_json
from apdraw_cli.console import Console
from apdraw_cli.settings import Settings, options_of
from engines.errors import ExitCode, UsageError

COMMANDS = (
    convert.convert,
    prepare.prepare,
    train.train,
    tidy.tidy,
    evaluate.evaluate,
    import_weights.import_weights,
    export.export,
    build_engine.build_engine,
    gallery.gallery,
    serve.serve,
    doctor.doctor,
    bench.bench,
    config.config,
    version.version,
)
"""All commands, in the order of the help."""

TRUE = frozenset(("1", "true", "t", "yes", "y", "on"))
"""What a switch in the environment is set to, in small letters, to be on."""

EXAMPLES = """
Examples:
  apdraw convert photos
  apdraw convert photos -o drawings --faces all
  apdraw doctor

apdraw COMMAND --help tells more. Options can come from a settings file or the
environment too: see apdraw config.
"""


class PlainGroup(WholeCommandLine, PlainFlags, TyperGroup):
    """The commands together, whose help is plain."""


app = typer.Typer(
    name="apdraw",
    cls=PlainGroup,
    help="Turns folders of face photos into artistic portrait drawings (APDrawingGAN).",
    epilog=EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command(command.name, cls=command.kind, epilog=command.epilog)(command.run)


def _print_version(asked: bool) -> None:
    if asked:
        Console().say(f"apdraw {__version__}")
        raise typer.Exit


@app.callback()
def _apdraw(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    context.obj = Settings({command.name: options_of(command.run) for command in COMMANDS})
    if any(command.has_own_config and command.name == context.invoked_subcommand for command in COMMANDS):
        with reporting(Console(context.invoked_subcommand, as_json=wants_json(context))):
            context.obj = context.obj.found()
            context.default_map = dict(context.obj.defaults)


def main() -> None:
    """What the command `apdraw` runs."""
    _open_closed_streams()
    arguments = sys.argv[1:]
    try:
        code = app(arguments, prog_name="apdraw", standalone_mode=False)
    except typer.Abort:  # Ctrl-C outside a conversion
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        explain = getattr(error, "format_message", None)  # of wrong usage; its class moves between versions of typer
        if explain is None:
            raise
        message = explain().rstrip(".").replace("Value error, ", "") + _where_from(error)
        path = getattr(getattr(error, "ctx", None), "command_path", "apdraw")
        as_json = asks_for_json(arguments) or _variable_asks_for_json(getattr(error, "ctx", None))
        console = Console(path.partition(" ")[2] or None, as_json=as_json)
        console.failed(UsageError(message), f"{message}; see: {path} --help" if message else "", ExitCode.USAGE)
        sys.exit(ExitCode.USAGE)
    sys.exit(code)


def _where_from(error: Exception) -> str:
    """Where a wrong value was said, if not on the command line."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is None or parameter is None:
        return ""
    match getattr(context.get_parameter_source(parameter.name), "name", ""):
        case "ENVIRONMENT":
            return f" (from {parameter.envvar} of the environment)"
        case "DEFAULT_MAP":
            return f" (from {context.obj.file})"
    return ""


def _variable_asks_for_json(context: Any) -> bool:
    """Whether the environment asks a command that was used wrongly for JSON."""
    for parameter in getattr(getattr(context, "command", None), "params", ()):
        if parameter.name in ("as_json", "jsonl"):
            value, _ = parameter.consume_value(context, {})  # of the environment
            if str(value).lower() in TRUE:
                return True
    return False


def _open_closed_streams() -> None:
    """Sends to nowhere what is written to a standard stream that the command was started without."""
    # Such a file has the lowest free number, which is the stream's own, so that no drawing gets that.
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


if __name__ == "__main__":
    from apdraw_cli.__main__ import main as safe_main  # python -m apdraw_cli.app: a train.py of the user's is not run

    safe_main()
