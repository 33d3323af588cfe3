"""SVG: the outlines of ink as one filled path of cubic curves, in millimetres; no background."""

from typing import TYPE_CHECKING

from apdraw_cli.conversion.formats.base import Format
from apdraw_cli.conversion.formats.mark import is_sealed, sealed

if TYPE_CHECKING:
    from apdraw_cli.conversion.recipe import Recipe
    from engines.portrait import Image

MILLIMETRES: float = 25.4


def encode(page: "Image", recipe: "Recipe") -> bytes:
    """Traces a page, uint8 [H, W]."""
    from apdraw_cli.conversion.tracing import traced

    height, width = page.shape
    pixel = MILLIMETRES * recipe.page.inches_a_pixel(page.shape)
    path = []
    for curves in traced(page):
        path.append("M{:.2f} {:.2f}".format(*curves[0, 0]))
        path += ["C{:.2f} {:.2f} {:.2f} {:.2f} {:.2f} {:.2f}".format(*each) for each in curves[:, 1:].reshape(-1, 6)]
        path.append("Z")
    data = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * pixel:.3f}mm" height="{height * pixel:.3f}mm" '
        f'viewBox="0 0 {width} {height}">\n<path fill="#000" fill-rule="evenodd" d="{"".join(path)}"/>\n</svg>\n'
    )
    return sealed(data.encode(), b"<!--", b" -->")


SVG = Format("svg", ".svg", encode, is_sealed, frozenset(("two_tone", "transparent")), vector=True)
"""Two tones without a background is all that it has."""
