"""Output formats: one module each, listed here.

To add a format, write a module with a `Format`, and add it to `FORMATS`. The modules import no library before a
drawing is encoded, so that the command line can list the formats at no cost.
"""

from typing import Final

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.jpeg import JPEG, JPG
from apdraw_cli.conversion.formats.pdf import PDF
from apdraw_cli.conversion.formats.png import PNG
from apdraw_cli.conversion.formats.svg import SVG
from apdraw_cli.conversion.formats.tiff import TIF, TIFF
from apdraw_cli.conversion.formats.webp import WEBP

__all__ = ["FORMATS", "Format"]

FORMATS: Final[dict[str, Format]] = {each.name: each for each in (PNG, JPG, JPEG, WEBP, TIFF, TIF, SVG, PDF)}
"""All formats by the name that `--format` takes; the first is the default."""
