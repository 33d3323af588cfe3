"""What all commands share: --json and --debug, one line for each error, and the exit code."""

import contextlib
import copy
import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

from apdraw_cli.cli.parameters import Parameters
from apdraw_cli.console import Console
from apdraw_cli.settings import Settings, spelling_of
from engines.errors import ApdrawError, ExitCode, UnfitError
from engines.machine_faults import machine_fault


def _use_settings(context: typer.Context, file: Path | None) -> None:
    """Takes the settings of a file for the defaults of a command."""
    if context.resilient_parsing or not isinstance(context.obj, Settings):
        return
    with reporting(Console(context.info_name, as_json=wants_json(context))):
        context.obj = context.obj.found() if file is None else context.obj.of(file)
        context.default_map = context.obj.defaults.get(str(context.info_name), {})


def asks_for_json(arguments: Iterable[str]) -> bool:
    """Whether a command line asks for JSON, whatever else is wrong there."""
    return not {"--json", "--jsonl"}.isdisjoint(arguments)


def wants_json(context: typer.Context) -> bool:
    """Whether JSON is asked for on the command line, of which the command has perhaps not read everything yet."""
    return bool(context.meta.get(_AS_JSON))


class WholeCommandLine:
    """A group that keeps, for itself and its commands, what of the command line must be known before it is read."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the arguments."""
        ctx.meta[_AS_JSON] = asks_for_json(args)
        return super().parse_args(ctx, args)  # type: ignore[misc,no-any-return]


_AS_JSON: Final = f"{__name__}.as_json"

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Take options from this settings file; see apdraw config.",
        show_default="apdraw.toml in the current folder, if there is one",
        callback=_use_settings,
        is_eager=True,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]

OURS = ("", "apdraw_cli", "engines", "train")
"""Packages of which one that cannot be imported is a fault of apdraw."""

SHARED = (
    inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Config),
    inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json),
    inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug),
)


@dataclass(frozen=True)
class Command:
    """A command, for Typer.

    Attributes:
        name: what the user types.
        epilog: examples, and what else stands below its help.
        run: the function that Typer calls, with what was typed.
        kind: reads what was typed.
        has_own_config: its `--config` is another file than that of the settings.
    """

    name: str
    epilog: str
    run: Callable[..., None]
    kind: type[TyperCommand]
    has_own_config: bool = False


class PlainFlags:
    """Shows a switch in the help without the type of a value, which it does not take."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, with those of Typer's own."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False) and parameter.metavar is None:
                parameter.metavar = ""
        return parameters


class PlainCommand(PlainFlags, TyperCommand):
    """A command whose help is plain."""


def command(
    *, epilog: str, name: str | None = None, kind: type[TyperCommand] = PlainCommand
) -> Callable[[Callable[..., int]], Command]:
    """Makes a command of a function, with the options of the dataclasses in its signature, `--json` and `--debug`.

    The function is handed a `Console` as `console`, and returns the exit code.

    Args:
        epilog: examples, and what else stands below the help.
        name: name of the command, if it is not the function's.
        kind: reads what is typed.
    """

    def decorate(function: Callable[..., int]) -> Command:
        parameters = Parameters(function, leave_out=("console",))
        called = name or function.__name__
        has_own_config = any(parameter.name == "config" for parameter in parameters.typed)

        @functools.wraps(function)
        def run(*, as_json: bool, debug: bool, **typed: Any) -> None:
            if not has_own_config:
                del typed["config"]  # its callback has read it
            as_json = as_json or typed.get("jsonl", False)
            with reporting(Console(called, quiet=typed.get("quiet", False), as_json=as_json, debug=debug)) as console:
                raise typer.Exit(function(console=console, **parameters.collect(typed)))

        shared = [parameter for parameter in SHARED if not (has_own_config and parameter.name == "config")]
        own = [with_variable(parameter, called) for parameter in (*parameters.typed, *shared)]
        run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in own}
        return Command(called, epilog, run, kind, has_own_config)

    return decorate


def with_variable(parameter: inspect.Parameter, command: str) -> inspect.Parameter:
    """An option that can come from an environment variable too, as `--min-face` from `APDRAW_CONVERT_MIN_FACE`."""
    kind, about = get_args(parameter.annotation) or (None, None)
    if not isinstance(about, OptionInfo) or about.is_eager:
        return parameter
    about = copy.copy(about)
    about.envvar = f"APDRAW_{command}_{spelling_of(about, parameter.name)}".replace("-", "_").upper()
    about.show_envvar = False
    return parameter.replace(annotation=Annotated[kind, about])


@contextlib.contextmanager
def reporting(console: Console) -> Iterator[Console]:
    """Turns what ends a command into one line and an exit code."""
    warnings = _Warnings(console)
    loggers = [logging.getLogger(f"apdraw.{package}") for package in ("engines", "train")]
    for logger in loggers:
        logger.addHandler(warnings)
    try:
        yield console
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except KeyboardInterrupt as error:
        console.failed(error, "", ExitCode.INTERRUPTED)
        raise
    except ApdrawError as error:
        console.failed(error, str(error), error.exit_code)
        raise typer.Exit(error.exit_code) from error
    except Exception as error:
        if isinstance(error, ImportError) and (package := (error.name or "").partition(".")[0]) not in OURS:
            unfit = UnfitError(f"{package} cannot be used here: {' '.join(str(error).split())}; see apdraw doctor")
            console.failed(unfit, str(unfit), unfit.exit_code)
            raise typer.Exit(unfit.exit_code) from error
        if (fault := machine_fault(error)) is not None:
            console.failed(UnfitError(fault), fault, ExitCode.UNFIT)
            raise typer.Exit(ExitCode.UNFIT) from error
        reason = " ".join(str(error).split()) or "no more is known"
        message = f"{type(error).__name__}: {reason}; please report it, with what --debug shows"
        console.failed(error, message, ExitCode.UNFIT)
        raise typer.Exit(ExitCode.UNFIT) from error
    finally:
        for logger in loggers:
            logger.removeHandler(warnings)


class _Warnings(logging.Handler):
    """Hands the packages' warnings to the console."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.warning(record.getMessage())
