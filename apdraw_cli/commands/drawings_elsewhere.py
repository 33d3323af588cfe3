"""Drawings made elsewhere: read from a folder, in place of being drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apdraw_cli.conversion.sources import EXTENSIONS
from apdraw_cli.datasets.pairing import name_key
from engines.errors import PhotoError, UsageError

if TYPE_CHECKING:
    from engines.portrait import Image, PortraitBatch
    from train.evaluation.evaluate import Draw

ENDINGS: Final = ("", "_fake_B")
"""What follows a portrait's name in the name of its drawing; the second is written by the programs of the paper's
authors and of Pix2Pix and CycleGAN."""


def folder_drawer(folder: Path, names: Sequence[str]) -> "Draw":
    """Opens a folder of drawings, each named like its portrait: in any case, however its accents are stored.

    Args:
        folder: folder of 512 x 512 drawings, grey or in colour, in any format that photos may have; not the
            folders below it.
        names: names of the portraits.

    Returns:
        A function for `train.evaluation.evaluate.evaluate`, which reads them.

    Raises:
        UsageError: the folder cannot be read, or holds no drawing of any of these portraits.
    """
    files: dict[str, list[Path]] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
                files.setdefault(name_key(path.stem), []).append(path)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be read ({error.strerror}): name another") from error

    def of(name: str) -> list[Path]:
        keys = (name_key(name + ending) for ending in ENDINGS)
        found = next((files[key] for key in keys if key in files), [])
        exactly = [path for path in found if path.stem in {name + ending for ending in ENDINGS}]
        return exactly if len(exactly) == 1 else found

    if not any(map(of, names)):
        raise UsageError(
            f"{folder} holds no drawing of the data set's portraits: name each like its portrait, as in {names[0]}.png"
        )

    def draw(names: Sequence[str], portraits: "PortraitBatch") -> "list[Image | str]":
        return [_read_drawing(of(name)) for name in names]

    return draw


def _read_drawing(files: Sequence[Path]) -> "Image | str":
    """A drawing as uint8 [512, 512], or why it is none."""
    import cv2
    import numpy as np

    from apdraw_cli.conversion.decode import decode, read
    from engines.portrait import SIZE

    if not files:
        return "the folder holds no drawing of it"
    if len(files) > 1:
        return f"the folder holds several drawings of it: {', '.join(path.name for path in files)}"
    try:
        picture = decode(read(files[0]))
    except PhotoError as error:
        return f"{files[0].name}: {error.message}"
    height, width = picture.shape[:2]
    if (height, width) != (SIZE, SIZE):
        return f"{files[0].name} is {width} x {height}, not {SIZE} x {SIZE}"
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
