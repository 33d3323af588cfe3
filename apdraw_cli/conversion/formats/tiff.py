"""TIFF: 8-bit grey or one bit, compressed with Deflate, every grey level kept."""

from dataclasses import replace
from typing import TYPE_CHECKING

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.pillow import encode_with_pillow

if TYPE_CHECKING:
    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image


def encode(page: "Image", recipe: "Recipe") -> bytes:
    """Encodes a page, uint8 [H, W] or [H, W, 3]."""
    return encode_with_pillow(page, "TIFF", recipe, compression="tiff_adobe_deflate")


TIFF = Format("tiff", ".tiff", encode, knows=frozenset(("two_tone", "transparent")))
TIF = replace(TIFF, name="tif", suffix=".tif")
