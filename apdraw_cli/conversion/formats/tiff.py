"""TIFF: 8-bit grey, compressed with Deflate, every grey level kept."""

from typing import TYPE_CHECKING

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.pillow import encode_with_pillow

if TYPE_CHECKING:
    from engines.portrait import Image


def encode(drawing: "Image") -> bytes:
    """Encodes a drawing, uint8 [H, W]."""
    return encode_with_pillow(drawing, "TIFF", compression="tiff_adobe_deflate")


TIFF = Format("tiff", ".tiff", encode)
