"""Output: drawings to files, each of which appears under its name only when it is whole."""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from apdraw_cli.conversion.formats import Format
from apdraw_cli.timing import timed
from engines.atomic_files import new_part, sweep
from engines.errors import PhotoError, UnfitError
from engines.portrait import Image
from engines.regular_files import inside, is_empty, open_regular

_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))


class DrawingWriter:
    """Writes drawings into an output folder; may be used from several threads.

    Nothing outside the output folder is written or removed, through links neither. A file that does not bear this
    program's mark is never replaced or removed, whatever the manifest says of it.

    Args:
        output: the output folder.
        file_format: what the drawings are written as.
    """

    def __init__(self, output: Path, file_format: Format) -> None:
        self._output = output
        self._format = file_format
        self._tidied: set[Path] = set()

    def write(self, name: str, drawings: Sequence[Image], seconds: dict[str, float] | None = None) -> tuple[str, ...]:
        """Writes the drawings of one photo: all of them, or none.

        Args:
            name: path below the output folder, without suffix.
            drawings: uint8 [H, W] each, at least one.
            seconds: of the stages `encode` and `write` are added to it.

        Returns:
            The files' paths below the output folder: `p.png`, `p.2.png`, ...

        Raises:
            PhotoError: `name_taken` or `write_failed`.
            UnfitError: no drawing at all can be written any more.
        """
        seconds = {} if seconds is None else seconds
        suffix = self._format.suffix
        names = [name + suffix, *(f"{name}.{n}{suffix}" for n in range(2, len(drawings) + 1))]
        parts: list[Path] = []
        try:
            targets = [inside(self._output, written) for written in names]
            self._prepare(targets[0].parent)
            for target, written, drawing in zip(targets, names, drawings, strict=True):
                if os.path.lexists(target) and not is_empty(target) and not self._is_ours(target):
                    raise PhotoError(
                        "name_taken",
                        f"{written} is in the way, and no drawing of apdraw: name another --output",
                    )
                with timed(seconds, "encode"):
                    data = self._format.encode(drawing)
                with timed(seconds, "write"):
                    part, file = new_part(target.parent)
                    parts.append(part)
                    with file:
                        file.write(data)
            with timed(seconds, "write"):
                for part, target in zip(parts, targets, strict=True):
                    part.replace(target)
                parts.clear()
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in _NO_ROOM:
                raise UnfitError(
                    f"cannot write into {self._output}: {reason}; the drawings made so far are kept: "
                    "make room and run the same command again"
                ) from error
            raise PhotoError("write_failed", f"{names[0]} cannot be written: {reason}") from error
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
        return tuple(names)

    def remove(self, names: Sequence[str]) -> None:
        """Removes drawings that newer ones of the same photo have replaced under other names.

        Names that lead out of the output folder, and files without this program's mark, are left alone.
        """
        for name in names:
            with contextlib.suppress(OSError):
                drawing = inside(self._output, name)
                if self._is_ours(drawing):
                    drawing.unlink()

    def _is_ours(self, target: Path) -> bool:
        """Whether a file is a drawing of this program; a link to one is none."""
        try:
            with open_regular(target, follow_links=False) as file:
                return self._format.is_ours(file)
        except OSError:
            return False

    def _prepare(self, folder: Path) -> None:
        """Makes a folder, and clears it of what a killed run left behind."""
        if folder in self._tidied:
            return
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        self._tidied.add(folder)
