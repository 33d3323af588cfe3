"""The contact sheet: a sample of a data set's portraits on one picture, to be looked at before training."""

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image as Pillow

from apdraw_cli.conversion.formats.mark import exif_mark
from apdraw_cli.datasets.records import PairRecord, write
from engines.errors import UnfitError
from engines.portrait import MASK_THRESHOLD, Image
from engines.regular_files import open_regular
from train.contact_sheet import Row, contact_sheet, shortened
from train.data.layout import file_of

NAME: Final = "contact-sheet.jpg"
MOST: Final = 48
CELL: Final = 160
COLUMNS: Final = 4
MASK_COLOUR: Final = (230, 60, 40)


def write_contact_sheet(dataset: Path, records: Sequence[PairRecord]) -> Path:
    """Shows photo, drawing and mask of up to 48 portraits, always the same ones of the same names.

    A drawing's agreement with its photo follows its name; `moved` marks one that was registered.

    Args:
        dataset: the data set.
        records: those of its portraits; at least one.

    Raises:
        UnfitError: it cannot be written, or a portrait's file not be read.
    """
    ordered = sorted(records, key=lambda record: record.name)
    chosen = sorted(random.Random(0).sample(ordered, min(MOST, len(ordered))), key=lambda record: record.name)
    sheet = contact_sheet([Row(_label(record), _pictures(dataset, record.name)) for record in chosen], CELL, COLUMNS)
    buffer = io.BytesIO()
    Pillow.fromarray(sheet).save(buffer, "JPEG", quality=90, exif=exif_mark())
    write(dataset, {dataset / NAME: buffer.getvalue()})
    return dataset / NAME


def _pictures(dataset: Path, name: str) -> list[Image]:
    photo, drawing, mask = (
        _open(file_of(dataset, folder, name), mode)
        for folder, mode in (("photos", "RGB"), ("drawings", "L"), ("masks", "L"))
    )
    outside = (mask < MASK_THRESHOLD)[..., None]
    overlay = np.where(outside, photo // 2 + np.array(MASK_COLOUR, np.uint8) // 2, photo)
    return [photo, drawing, np.asarray(overlay, np.uint8)]


def _open(path: Path, mode: str) -> Image:
    try:
        with open_regular(path) as file, Pillow.open(file, formats=("PNG",)) as picture:
            return np.asarray(picture.convert(mode), np.uint8)
    except (OSError, SyntaxError) as error:  # Pillow raises the latter on some damaged PNGs
        raise UnfitError(f"cannot read {path} of an earlier run: remove it, and start again") from error


def _label(record: PairRecord) -> str:
    parts = [shortened(record.name)]
    if record.agreement is not None:
        parts.append(f"{record.agreement:.2f}")
    if record.registered:
        parts.append("moved")
    return "   ".join(parts)
