"""Contact sheets: rows of small pictures, each with a line of text above, several rows side by side on one picture."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from engines.portrait import Image

MOST_LETTERS: Final = 48
"""Longer names are shortened."""


class Row(NamedTuple):
    """What a sheet shows of one portrait."""

    label: str
    pictures: Sequence[Image]  # uint8 [H, W] grey or [H, W, 3] RGB, the same number in every row


def contact_sheet(rows: Sequence[Row], cell: int, columns: int) -> Image:
    """Puts rows of pictures on a white sheet.

    Args:
        rows: at least one.
        cell: side of a picture on the sheet, in pixels; pictures are reduced by area.
        columns: how many rows stand side by side, if there are as many.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    columns = min(columns, len(rows))
    gap, letters = max(cell // 16, 4), max(cell // 12, 11)
    wide, high = len(rows[0].pictures) * (cell + gap), letters + 3 * gap + cell
    sheet = Pillow.new("RGB", (gap + columns * wide, gap + -(-len(rows) // columns) * high), "white")
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(letters)
    for place, row in enumerate(rows):
        left, top = gap + place % columns * wide, gap + place // columns * high
        canvas.text((left, top), row.label.encode("utf-8", "replace").decode(), fill="black", font=font)
        for number, picture in enumerate(row.pictures):
            small = Pillow.fromarray(picture).resize((cell, cell), Pillow.Resampling.BOX)
            sheet.paste(small, (left + number * (cell + gap), top + letters + gap))
    return np.asarray(sheet, np.uint8)


def shortened(name: str) -> str:
    """A name that fits above a row."""
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 3]}..."
