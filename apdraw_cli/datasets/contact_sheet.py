"""The contact sheet: a sample of a data set's portraits on one picture, to be looked at before training."""

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from apdraw_cli.conversion.formats.mark import exif_mark
from apdraw_cli.datasets.records import Record, write
from engines.errors import UnfitError
from engines.portrait import MASK_THRESHOLD
from engines.regular_files import open_regular
from train.data.layout import file_of

NAME: Final = "contact-sheet.jpg"
MOST: Final = 48
TILE: Final = 160
COLUMNS: Final = 4
GAP: Final = 12
LABEL: Final = 18
MASK_COLOUR: Final = (230, 60, 40)


def write_contact_sheet(dataset: Path, records: Sequence[Record]) -> Path:
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
    columns = min(COLUMNS, len(chosen))
    cell = (3 * TILE + GAP, TILE + LABEL + GAP)
    sheet = Pillow.new("RGB", (columns * cell[0] + GAP, -(-len(chosen) // columns) * cell[1] + GAP), "white")
    canvas = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for place, record in enumerate(chosen):
        x, y = (GAP + at * step for at, step in zip((place % columns, place // columns), cell, strict=True))
        canvas.text((x, y), _label(record), fill="black", font=font)
        for i, tile in enumerate(_tiles(dataset, record.name)):
            sheet.paste(tile.resize((TILE, TILE), Pillow.Resampling.BOX), (x + i * TILE, y + LABEL))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=90, exif=exif_mark())
    write(dataset, {dataset / NAME: buffer.getvalue()})
    return dataset / NAME


def _tiles(dataset: Path, name: str) -> list[Pillow.Image]:
    photo, drawing, mask = (
        _open(file_of(dataset, folder, name), mode)
        for folder, mode in (("photos", "RGB"), ("drawings", "RGB"), ("masks", "L"))
    )
    pixels = np.asarray(photo)
    outside = (np.asarray(mask) < MASK_THRESHOLD)[..., None]
    overlay = np.where(outside, pixels // 2 + np.array(MASK_COLOUR, np.uint8) // 2, pixels)
    return [photo, drawing, Pillow.fromarray(overlay)]


def _open(path: Path, mode: str) -> Pillow.Image:
    try:
        with open_regular(path) as file, Pillow.open(file, formats=("PNG",)) as picture:
            return picture.convert(mode)
    except (OSError, SyntaxError) as error:  # Pillow raises the latter on some damaged PNGs
        raise UnfitError(f"cannot read {path} of an earlier run: remove it, and start again") from error


def _label(record: Record) -> str:
    name = record.name.encode("utf-8", "replace").decode()
    parts = [name if len(name) <= 48 else f"{name[:45]}..."]
    if record.agreement is not None:
        parts.append(f"{record.agreement:.2f}")
    if record.registered:
        parts.append("moved")
    return "   ".join(parts)
