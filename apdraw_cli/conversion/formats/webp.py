"""WebP: lossless RGB, since it has no grey, and every grey level kept; lossy where a quality is asked for."""

from typing import TYPE_CHECKING

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.pillow import encode_with_pillow

if TYPE_CHECKING:
    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image


def encode(page: "Image", recipe: "Recipe") -> bytes:
    """Encodes a page, uint8 [H, W] or [H, W, 3]."""
    quality = recipe.file.quality
    if quality is not None:
        return encode_with_pillow(page, "WEBP", recipe, quality=quality)
    return encode_with_pillow(page, "WEBP", recipe, lossless=True, quality=0, method=0)


WEBP = Format("webp", ".webp", encode, knows=frozenset(("quality", "two_tone", "transparent")))
