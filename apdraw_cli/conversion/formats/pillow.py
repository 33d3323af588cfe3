"""Encoding with Pillow, for the formats that it writes well."""

import io
from typing import TYPE_CHECKING, Any

from apdraw_cli.conversion.formats.mark import exif_mark

if TYPE_CHECKING:
    from engines.portrait import Image


def encode_with_pillow(page: "Image", kind: str, **settings: Any) -> bytes:
    """Encodes a page, uint8 [H, W], with our mark in its EXIF data.

    Args:
        page: 0 black to 255 white.
        kind: Pillow's name of the format.
        settings: for Pillow's writer of that format.
    """
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(page).save(buffer, kind, exif=exif_mark(), **settings)
    return buffer.getvalue()
