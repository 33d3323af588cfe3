"""PNG: 8-bit grey, every grey level kept; grey with alpha, or one bit a pixel, where that is asked for."""

import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.mark import exif_mark
from apdraw_cli.conversion.formats.pillow import encode_with_pillow, two_tone

if TYPE_CHECKING:
    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image

HEADER: Final = 33
"""Bytes of a PNG before its further chunks."""

INCH: Final = 0.0254


def encode(page: "Image", recipe: "Recipe") -> bytes:
    """Encodes a page, uint8 [H, W] or [H, W, 3], with OpenCV; with Pillow where it has alpha."""
    import cv2

    if page.ndim == 3:
        return encode_picture(page[..., ::-1], dpi=recipe.page.dpi)
    if recipe.file.transparent:
        return encode_with_pillow(page, "PNG", recipe)
    # A drawing is mostly long runs of white. Looking for runs only, in rows as they are, makes a smaller file than
    # trying all filters of rows, as Pillow does, in a third of the time.
    settings = [
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
    ]
    if recipe.file.two_tone:
        page, settings = two_tone(page), [cv2.IMWRITE_PNG_BILEVEL, 1]
    return encode_picture(page, settings, dpi=recipe.page.dpi)


def encode_picture(pixels: "Image", settings: Sequence[int] = (), dpi: float | None = None) -> bytes:
    """Encodes any picture as a PNG that bears our mark.

    Args:
        pixels: uint8, [H, W] grey or [H, W, 3] in OpenCV's order, BGR.
        settings: OpenCV's, name and value in turn.
        dpi: pixels an inch; None if that is not known.
    """
    import cv2
    import numpy as np

    exif = np.frombuffer(exif_mark(dpi).removeprefix(b"Exif\0\0"), np.uint8)  # a header that PNG does not have
    _, encoded = cv2.imencodeWithMetadata(".png", pixels, [cv2.IMAGE_METADATA_EXIF], [exif], list(settings))
    data = bytes(encoded)
    if dpi is None:
        return data
    metre = round(dpi / INCH)
    chunk = b"pHYs" + struct.pack(">IIB", metre, metre, 1)
    return b"".join((data[:HEADER], struct.pack(">I", 9), chunk, struct.pack(">I", zlib.crc32(chunk)), data[HEADER:]))


PNG = Format("png", ".png", encode, knows=frozenset(("two_tone", "transparent")))
