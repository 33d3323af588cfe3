"""PDF: one page of the drawing's size in print, with the outlines of ink as one filled path of cubic curves."""

import io
from typing import TYPE_CHECKING, Final

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.mark import is_sealed, sealed

if TYPE_CHECKING:
    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image

POINTS: Final = 72
"""In an inch."""


def encode(page: "Image", recipe: "Recipe") -> bytes:
    """Traces a page, uint8 [H, W]."""
    import pydyf

    from apdraw_cli.conversion.tracing import traced

    height, width = page.shape
    pixel = POINTS * recipe.page.inches_a_pixel(page.shape)
    stream = pydyf.Stream(compress=True)
    stream.set_matrix(round(pixel, 8), 0, 0, round(-pixel, 8), 0, round(height * pixel, 4))
    for curves in traced(page):
        stream.move_to(*curves[0, 0].round(2).tolist())
        for each in curves[:, 1:].reshape(-1, 6).round(2).tolist():
            stream.curve_to(*each)
        stream.close()
    stream.fill(even_odd=True)
    document = pydyf.PDF()
    document.add_object(stream)
    size = pydyf.Array([0, 0, round(width * pixel, 4), round(height * pixel, 4)])
    sheet = {"Type": "/Page", "Parent": document.pages.reference, "MediaBox": size, "Contents": stream.reference}
    document.add_page(pydyf.Dictionary(sheet))
    file = io.BytesIO()
    document.write(file)
    return sealed(file.getvalue(), b"%", b"")


PDF = Format("pdf", ".pdf", encode, is_sealed, frozenset(("two_tone", "transparent")), vector=True)
"""Two tones without a background is all that it has."""
