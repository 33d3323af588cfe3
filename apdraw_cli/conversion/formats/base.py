"""What an output format is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from apdraw_cli.conversion.formats.mark import has_exif_mark

if TYPE_CHECKING:
    from engines.portrait import Image


@dataclass(frozen=True)
class Format:
    """One kind of file that drawings are written as.

    Attributes:
        name: what `--format` calls it.
        suffix: end of the files' names, with the dot.
        encode: a drawing, uint8 [H, W], 0 black to 255 white, as the bytes of a whole file that bears our mark.
        is_ours: whether an open file bears our mark: only such files may be replaced by a drawing. It raises nothing,
            whatever the file holds.
    """

    name: str
    suffix: str
    encode: "Callable[[Image], bytes]"
    is_ours: Callable[[BinaryIO], bool] = has_exif_mark
