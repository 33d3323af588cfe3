"""PNG: 8-bit grey, every grey level kept."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.mark import exif_mark

if TYPE_CHECKING:
    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image


def encode(page: "Image", recipe: "Recipe") -> bytes:
    """Encodes a page, uint8 [H, W], with OpenCV."""
    import cv2

    # A drawing is mostly long runs of white. Looking for runs only, in rows as they are, makes a smaller file than
    # trying all filters of rows, as Pillow does, in a third of the time.
    settings = [
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
    ]
    return encode_picture(page, settings)


def encode_picture(pixels: "Image", settings: Sequence[int] = ()) -> bytes:
    """Encodes any picture as a PNG that bears our mark.

    Args:
        pixels: uint8, [H, W] grey or [H, W, 3] in OpenCV's order, BGR.
        settings: OpenCV's, name and value in turn.
    """
    import cv2
    import numpy as np

    exif = np.frombuffer(exif_mark().removeprefix(b"Exif\0\0"), np.uint8)  # a header that PNG does not have
    _, data = cv2.imencodeWithMetadata(".png", pixels, [cv2.IMAGE_METADATA_EXIF], [exif], list(settings))
    return bytes(data)


PNG = Format("png", ".png", encode)
