"""The console: prints results on standard output, everything else on standard error. It knows no command."""

import dataclasses
import json
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from apdraw_cli import __version__
from apdraw_cli.terminal_text import table, write
from engines.errors import ApdrawError, ExitCode

Result = TypeVar("Result")

SCHEMA_VERSION: Final = 1
"""Of the JSON object of every command; to be raised where a field changes its meaning or goes."""


class Console:
    """Prints what a command has to tell.

    Args:
        command: its name.
        quiet: print nothing but errors.
        as_json: print the result as one JSON object, and nothing else on standard output.
        debug: print tracebacks too.
    """

    def __init__(
        self, command: str | None = None, *, quiet: bool = False, as_json: bool = False, debug: bool = False
    ) -> None:
        self.command = command
        self.quiet = quiet
        self.as_json = as_json
        self.debug = debug
        self._printed = False
        self._warnings: list[dict[str, str]] = []

    def error(self, message: str) -> None:
        """What ended a command; with the traceback of the exception being handled, if that was asked for."""
        if self.debug and sys.exc_info()[0] is not None:
            write(sys.stderr, traceback.format_exc(), one_line=False)
        write(sys.stderr, f"apdraw: error: {message}")

    def warning(self, message: str) -> None:
        """What the user should know; the JSON object tells it too."""
        self._warnings.append({"code": "general", "message": message})
        write(sys.stderr, f"apdraw: warning: {message}")

    def say(self, message: str = "") -> None:
        """A line for people."""
        if not self.quiet and not self.as_json:
            write(sys.stdout, message, one_line=False)

    def table(self, rows: Sequence[tuple[str, ...]], indent: int = 2) -> None:
        """Rows for people."""
        if not self.quiet and not self.as_json:
            for line in table(rows, indent):
                self.say(line)

    def show(
        self,
        result: Result,
        tell: Callable[["Console", Result], None] | None = None,
        *,
        results: Iterable[str] | None = None,
        **more: Any,
    ) -> int:
        """Tells a command's result: to scripts as JSON, or to people.

        Args:
            result: a dataclass, or the fields of the JSON object; its `exit_code`, if it has one, is the command's.
            tell: tells it to people.
            results: the field `results` of the JSON object: a JSON text each, of which there may be many.
            more: further fields of the JSON object.

        Returns:
            The command's exit code.
        """
        code = int(getattr(result, "exit_code", ExitCode.DONE))
        if self.as_json:
            fields = result if isinstance(result, dict) else dataclasses.asdict(result)  # type: ignore[call-overload]
            ended = fields.get("error")
            error = None if ended is None else {"code": error_code(ended), "message": str(ended)}
            self._object(fields | more, code, error, results)
        if tell is not None:
            tell(self, result)
        return code

    def failed(self, error: BaseException, message: str, code: int) -> None:
        """Tells what ended a command: one line, and with --json an object too."""
        if message:
            self.error(message)
        if self.as_json and not self._printed:
            self._object({}, code, {"code": error_code(error), "message": message})

    def _object(
        self, fields: dict[str, Any], code: int, error: dict[str, str] | None, results: Iterable[str] | None = None
    ) -> None:
        """The one object: the same frame for every command, and how it ended."""
        self._printed = True
        frame = {"apdraw": __version__, "schema_version": SCHEMA_VERSION, "command": self.command, "exit_code": code}
        ending = {"exit_code": code, "error": error, "warnings": [*fields.get("warnings", ()), *self._warnings]}
        text = json.dumps(_finite(frame | fields | ending), default=str)
        if results is None:
            write(sys.stdout, text)
            return
        sys.stdout.write(f'{text[:-1]}, "results": [')
        for number, result in enumerate(results):
            sys.stdout.write(f"{', ' if number else ''}{result}")
        write(sys.stdout, "]}")


def _finite(value: Any) -> Any:
    """A value with null in place of numbers that JSON does not have."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {name: _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value


def error_code(error: object) -> str:
    """A short word for scripts: the kind of an error, as `model_file` of ModelFileError."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, ApdrawError):
        name = type(error).__name__.removesuffix("Error")
        return re.sub(r"(?<=.)(?=[A-Z])", "_", name).lower()
    return "internal" if isinstance(error, Exception) else "unfit"
