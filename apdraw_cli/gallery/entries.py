"""Reads from the manifest what a gallery shows: an entry for each drawing, and for each photo without one."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image as Pillow

from apdraw_cli.conversion.decode import FORMATS
from apdraw_cli.conversion.manifest import Record, last_lines
from apdraw_cli.conversion.overview import SUFFIX as OVERVIEW
from apdraw_cli.conversion.storage import Storage, Version
from apdraw_cli.faces.align import Transform
from engines.regular_files import is_name, is_text

SHOWN_STATUSES: Final = ("done", "no_face", "failed")

_VIEW_BOX: Final = re.compile(rb'viewBox\s*=\s*"\s*0 0 (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)')
_SVG_HEAD: Final = 4096


@dataclass(frozen=True)
class Reason:
    """Why a photo was not drawn, or why its drawing should be looked at.

    Attributes:
        code: a short word for scripts.
        message: one line for people.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Entry:
    """One drawing, or one photo without a drawing.

    Attributes:
        record: what the manifest says of the photo.
        number: which of the photo's drawings it is, from 1; None if it is the only one.
        drawing: its path below the output folder; None if there is none.
        version: version of the drawing's file; None if it is gone.
        size: width and height of the drawing, as far as its file tells; None if it does not.
        transform: float64 [2, 3], from pixels of the photo to the aligned portrait; None if the drawing is of the
            whole photo, or there is none.
        warnings: why the drawing should be looked at.
        error: why there is no drawing.
    """

    record: Record
    number: int | None = None
    drawing: str | None = None
    version: Version | None = None
    size: tuple[float, float] | None = None
    transform: Transform | None = None
    warnings: tuple[Reason, ...] = ()
    error: Reason | None = None


def read_entries(output: Storage) -> list[Entry]:
    """The entries of an output folder, in the order of the photos' names; several of a photo one after the other.

    Raises:
        UsageError: the manifest cannot be read.
    """
    lines = last_lines(output)
    return [
        entry
        for source in sorted(lines, key=_natural)
        if lines[source][0].status in SHOWN_STATUSES
        for entry in _entries(output, *lines[source])
    ]


def _entries(output: Storage, record: Record, line: dict[str, Any]) -> Iterator[Entry]:
    if record.status != "done":
        yield Entry(record, error=Reason(record.code, record.message))
        return
    transforms = _transforms(line.get("transform"))
    warnings = _reasons(line.get("warnings"))
    drawings = record.outputs
    if len(drawings) > 1 and drawings[-1].endswith(OVERVIEW):
        drawings = drawings[:-1]
    several = len(drawings) > 1
    for number, drawing in enumerate(drawings, 1):
        transform = transforms[number - 1] if len(transforms) == len(drawings) else None
        own = tuple(each for each in warnings if not several or _is_about(each, number))
        version = None
        if is_name(drawing):
            try:
                version = output.version(drawing)
            except OSError:
                version = None
        size = None if version is None else _size(output, drawing)
        yield Entry(record, number if several else None, drawing, version, size, transform, own)


def _is_about(warning: Reason, number: int) -> bool:
    """Whether a warning of a photo with several faces, which begins with `face N: `, is about the face of a number."""
    told = re.match(r"face (\d+): ", warning.message)
    return told is None or int(told[1]) == number


def _transforms(value: Any) -> list[Transform]:
    """The transforms in a line; none if one of them is none."""
    try:
        transforms = [np.array(each, np.float64) for each in value]
    except (TypeError, ValueError):
        return []
    return transforms if all(each.shape == (2, 3) and np.isfinite(each).all() for each in transforms) else []


def _reasons(value: Any) -> tuple[Reason, ...]:
    if not isinstance(value, list):
        return ()
    pairs = ((each.get("code"), each.get("message")) for each in value if isinstance(each, dict))
    return tuple(Reason(code, message) for code, message in pairs if is_text(code) and is_text(message))


def _size(output: Storage, drawing: str) -> tuple[float, float] | None:
    """Width and height of a drawing, from the beginning of its file."""
    try:
        with output.open_own(drawing) as file:
            if drawing.lower().endswith(".svg"):
                found = _VIEW_BOX.search(file.read(_SVG_HEAD))
                size = (float(found[1]), float(found[2])) if found else None
                return size if size and all(0 < side < math.inf for side in size) else None
            with Pillow.open(file, formats=FORMATS) as picture:
                return picture.size
    except Exception:  # Pillow raises nearly everything on damaged files
        return None


def _natural(name: str) -> list[tuple[int, str]]:
    """By which names sort as people count: `p2.jpg` before `p10.jpg`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.casefold())]
