"""What an output format is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from apdraw_cli.conversion.formats.mark import has_exif_mark

if TYPE_CHECKING:
    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image


@dataclass(frozen=True)
class Format:
    """One kind of file that drawings are written as.

    Attributes:
        name: what `--format` calls it.
        suffix: end of the files' names, with the dot.
        encode: makes the bytes of a whole file, which bears our mark, of a page, uint8 [H, W], 0 black to 255 white,
            or [H, W, 3], RGB, if it is over its photo. What else the file is to be like, it takes from the recipe.
        is_ours: whether an open file bears our mark: only such files may be replaced by a drawing. It raises nothing,
            whatever the file holds.
        knows: options of files that it has: `quality`, `two_tone`, `transparent`.
        vector: it holds curves, which need no larger page to be printed larger.
    """

    name: str
    suffix: str
    encode: "Callable[[Image, Recipe], bytes]"
    is_ours: Callable[[BinaryIO], bool] = has_exif_mark
    knows: frozenset[str] = frozenset()
    vector: bool = False
