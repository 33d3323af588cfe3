"""What became of each photo, for scripts: a line of JSON, printed at once, or kept on disk until all are through."""

import json
import sys
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any, Final, Self

from apdraw_cli.conversion.listener import Silent
from apdraw_cli.conversion.manifest import line_of
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.terminal_text import write
from engines.errors import UnfitError

IN_MEMORY: Final = 2**24
"""Bytes of results that are kept in memory; more of them go to a temporary file."""


def result_of(outcome: Outcome) -> str:
    """The manifest's line of a photo, and whether it was remembered and known, as one line of JSON."""
    result: dict[str, Any] = line_of(outcome) | {"remembered": outcome.remembered, "known": outcome.known}
    return json.dumps(result)


class PrintedResults(Silent):
    """A listener that prints the result of each photo when it is through."""

    def settled(self, outcome: Outcome) -> None:
        """Prints a result."""
        write(sys.stdout, result_of(outcome))


class KeptResults(Silent):
    """A listener that keeps the result of each photo; a context, which forgets them at its end."""

    def __init__(self) -> None:
        self._file: IO[str] = tempfile.SpooledTemporaryFile(IN_MEMORY, "w+", encoding="ascii", prefix="apdraw-")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def settled(self, outcome: Outcome) -> None:
        """Keeps a result.

        Raises:
            UnfitError: there is no room for it.
        """
        try:
            self._file.write(result_of(outcome) + "\n")
        except OSError as error:
            raise UnfitError(
                f"cannot keep results for --json in {tempfile.gettempdir()}: {error.strerror or error}; make room "
                "there, or use --jsonl, and run it again: drawings are kept"
            ) from error

    def __iter__(self) -> Iterator[str]:
        """The results, a line of JSON each."""
        self._file.seek(0)
        for line in self._file:
            yield line.rstrip("\n")
