"""WebP: lossless RGB, since it has no grey; every grey level kept."""

from typing import TYPE_CHECKING

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.pillow import encode_with_pillow

if TYPE_CHECKING:
    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image


def encode(page: "Image", recipe: "Recipe") -> bytes:
    """Encodes a page, uint8 [H, W]."""
    return encode_with_pillow(page, "WEBP", lossless=True, quality=0, method=0)


WEBP = Format("webp", ".webp", encode)
