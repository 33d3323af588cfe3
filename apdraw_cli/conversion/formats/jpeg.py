"""JPEG: 8-bit grey, small, grey levels nearly kept."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.pillow import encode_with_pillow

if TYPE_CHECKING:
    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image

QUALITY: Final = 95


def encode(page: "Image", recipe: "Recipe") -> bytes:
    """Encodes a page, uint8 [H, W] or [H, W, 3]."""
    return encode_with_pillow(page, "JPEG", recipe, quality=recipe.file.quality or QUALITY)


JPG = Format("jpg", ".jpg", encode, knows=frozenset(("quality",)))
JPEG = replace(JPG, name="jpeg", suffix=".jpeg")
