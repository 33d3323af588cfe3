"""Encoding with Pillow, for the formats that it writes well."""

import io
from typing import TYPE_CHECKING, Any, Final

from apdraw_cli.conversion.formats.mark import exif_mark

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image

INK: Final = 128
"""Grey levels below are black where there are two tones only."""


def encode_with_pillow(page: "Image", kind: str, recipe: "Recipe", **settings: Any) -> bytes:
    """Encodes a page, uint8 [H, W] or [H, W, 3], with our mark in its EXIF data.

    Args:
        page: 0 black to 255 white, or RGB.
        kind: Pillow's name of the format.
        recipe: how the file is to be.
        settings: for Pillow's writer of that format.
    """
    dpi = recipe.page.dpi
    buffer = io.BytesIO()
    picture(page, recipe).save(buffer, kind, exif=exif_mark(dpi), dpi=(dpi, dpi), **settings)
    return buffer.getvalue()


def picture(page: "Image", recipe: "Recipe") -> "Picture":
    """A page, uint8 [H, W], as Pillow has it: grey, of one bit, or black that is the more opaque the darker it is."""
    import numpy as np
    from PIL import Image as Pillow

    if recipe.file.two_tone:
        if not recipe.file.transparent:
            return Pillow.fromarray(page >= INK)
        page = two_tone(page)
    if recipe.file.transparent:
        return Pillow.fromarray(np.dstack([np.zeros_like(page), 255 - page]), "LA")
    return Pillow.fromarray(page)


def two_tone(page: "Image") -> "Image":
    """A page, uint8 [H, W], of 0 and 255 only."""
    import numpy as np

    return np.where(page < INK, np.uint8(0), np.uint8(255))
