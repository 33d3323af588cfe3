"""The overview of a photo with several faces: it shows which number each face has, and which file its drawing."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from apdraw_cli.conversion.formats.mark import exif_mark
from apdraw_cli.conversion.place import opened
from apdraw_cli.conversion.portraits import Prepared

SUFFIX: Final = ".overview.jpg"
"""End of an overview's name, after that of the first drawing."""

SIDE: Final = 1600
"""Pixels of its longer side at most."""

QUALITY: Final = 90
COLOUR: Final = (255, 220, 0)


def overview(prepared: Prepared, names: Sequence[str], dpi: float) -> bytes:
    """A JPEG of the photo with a box, a number and a name at each face, and our mark.

    Args:
        prepared: the portraits, with the photo.
        names: names of the drawings' files; where there is one for all, faces have numbers only.
        dpi: pixels an inch.
    """
    import io

    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    if prepared.photo is None:
        raise ValueError("the photo was not kept")
    picture = Pillow.fromarray(opened(prepared.photo))
    shrunk = min(1.0, SIDE / max(picture.size))
    picture = picture.resize(tuple(max(1, round(side * shrunk)) for side in picture.size))  # type: ignore[arg-type]
    pen = ImageDraw.Draw(picture)
    factor = max(picture.size) / max(prepared.photo_size)
    for index, portrait in enumerate(prepared.portraits):
        left, top, width, height = (np.array(portrait.face.box) * factor).tolist()
        line = max(2, round(width / 40))
        pen.rectangle((left, top, left + width, top + height), outline=COLOUR, width=line)
        large = ImageFont.load_default(max(14, width / 3))
        pen.text(
            (left + 2 * line, top + line), str(portrait.number), COLOUR, large, stroke_width=2, stroke_fill="black"
        )
        if len(names) == len(prepared.portraits):
            small = ImageFont.load_default(max(12, width / 9))
            place = (left + width / 2, top + height + line)
            pen.text(place, names[index], COLOUR, small, anchor="ma", stroke_width=2, stroke_fill="black")
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, exif=exif_mark(dpi))
    return file.getvalue()
