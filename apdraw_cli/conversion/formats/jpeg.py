"""JPEG: 8-bit grey, small, grey levels nearly kept."""

from typing import TYPE_CHECKING

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.pillow import encode_with_pillow

if TYPE_CHECKING:
    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image


def encode(page: "Image", recipe: "Recipe") -> bytes:
    """Encodes a page, uint8 [H, W]."""
    return encode_with_pillow(page, "JPEG", quality=95)


JPEG = Format("jpg", ".jpg", encode)
