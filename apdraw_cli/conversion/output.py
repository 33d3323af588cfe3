"""Output: drawings to files, each of which appears under its name only when it is whole."""

import errno
import io
import itertools
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image as Pillow

from apdraw_cli import __version__
from apdraw_cli.conversion.job import SUFFIXES
from apdraw_cli.timing import timed
from engines.errors import PhotoError, UnfitError
from engines.portrait import Image

MARK: Final = "apdraw"

_SOFTWARE: Final = 0x0131  # the EXIF tag that names the program

_SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "jpg": {"format": "JPEG", "quality": 95},
    "webp": {"format": "WEBP", "lossless": True, "quality": 0, "method": 0},
    "tiff": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
}

_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))


def encode(drawing: Image, file_format: str) -> bytes:
    """Encodes a drawing as 8-bit grey (WebP, which has no grey: RGB), marked as made by this program.

    Args:
        drawing: uint8 [H, W], 0 black to 255 white.
        file_format: `png`, `webp` and `tiff` keep every grey level; `jpg` does nearly.
    """
    if file_format == "png":
        return _png(drawing)
    buffer = io.BytesIO()
    Pillow.fromarray(drawing).save(buffer, exif=_mark(), **_SETTINGS[file_format])
    return buffer.getvalue()


def _png(drawing: Image) -> bytes:
    import cv2

    # A drawing is mostly long runs of white. Looking for runs only, in rows as they are, makes a smaller file than
    # trying all filters of rows, as Pillow does, in a third of the time.
    settings = [
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
    ]
    exif = np.frombuffer(_mark().removeprefix(b"Exif\0\0"), np.uint8)  # which only JPEG wants
    _, data = cv2.imencodeWithMetadata(".png", drawing, [cv2.IMAGE_METADATA_EXIF], [exif], settings)
    return bytes(data)


@cache
def _mark() -> bytes:
    exif = Pillow.Exif()
    exif[_SOFTWARE] = f"{MARK} {__version__}"
    return exif.tobytes()


def made_by_apdraw(path: Path) -> bool:
    """Whether a file is a drawing of this program, by the mark that it carries."""
    try:
        with Pillow.open(path) as picture:
            return str(picture.getexif().get(_SOFTWARE, "")).startswith(MARK)
    except Exception:  # no picture at all
        return False


class DrawingWriter:
    """Writes drawings into an output folder; may be used from several threads.

    A file that this program did not make is never replaced.

    Args:
        output: the output folder.
        file_format: a key of `SUFFIXES`.
        recorded: whether the manifest knows a path below the output folder as a drawing.
    """

    def __init__(self, output: Path, file_format: str, recorded: Callable[[str], bool]) -> None:
        self._output = output
        self._format = file_format
        self._recorded = recorded
        self._number = itertools.count()
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
        suffix = SUFFIXES[self._format]
        names = [name + suffix, *(f"{name}.{n}{suffix}" for n in range(2, len(drawings) + 1))]
        targets = [self._output / written for written in names]
        parts: list[Path] = []
        try:
            self._prepare(targets[0].parent)
            for target, written, drawing in zip(targets, names, drawings, strict=True):
                if target.exists() and not self._recorded(written) and not made_by_apdraw(target):
                    raise PhotoError(
                        "name_taken",
                        f"{written} is in the way, and no drawing of apdraw: name another --output",
                    )
                parts.append(target.parent / f".apdraw-{os.getpid()}-{next(self._number)}.part")
                with timed(seconds, "encode"):
                    data = encode(drawing, self._format)
                with timed(seconds, "write"):
                    parts[-1].write_bytes(data)
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
        """Removes drawings that newer ones of the same photo have replaced under other names."""
        for name in names:
            try:
                (self._output / name).unlink(missing_ok=True)
            except OSError:
                continue

    def _prepare(self, folder: Path) -> None:
        """Makes a folder, and clears it of what a killed run left behind."""
        if folder in self._tidied:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(".apdraw-*.part"):
            if not part.name.startswith(f".apdraw-{os.getpid()}-"):
                part.unlink(missing_ok=True)
        self._tidied.add(folder)
