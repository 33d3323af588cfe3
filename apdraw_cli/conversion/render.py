"""From the drawings of a photo to the pages that become its files."""

from collections.abc import Sequence

import numpy as np

from apdraw_cli.conversion.enlarge import resized
from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import Background
from apdraw_cli.conversion.place import over_photo, placed
from apdraw_cli.conversion.portraits import Prepared
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.strays import without_strays
from apdraw_cli.faces.align import beyond_photo
from engines.portrait import SIZE, WHITE, Image


def render(drawings: Sequence[Image], prepared: Prepared, recipe: Recipe) -> list[Image]:
    """Lays out the drawings of one photo: each on a page of its own, or all on one, of the size asked for.

    Args:
        drawings: uint8 [512, 512], 0 black to 255 white, one for each portrait.
        prepared: the portraits, with their transforms and the photo's size.
        recipe: how the pages are to look.

    Returns:
        Pages, uint8 [H, W] each, or [H, W, 3] RGB over the photo, one for each file; at least one.
    """
    side = None if FORMATS[recipe.format].vector else recipe.page.side
    finished = trimmed(drawings, prepared, recipe.page.background)
    if recipe.page.place == "photo":
        page = placed(finished, prepared, side)
        pages = [page if prepared.photo is None or recipe.page.over == "white" else over_photo(page, prepared.photo)]
    else:
        pages = [resized(drawing, side or SIZE) for drawing in finished]
    return pages


def trimmed(drawings: Sequence[Image], prepared: Prepared, background: Background) -> list[Image]:
    """Drawings that are white where their photo does not reach, and with a white background beside the person too."""
    kept = []
    for drawing, found in zip(drawings, prepared.portraits, strict=True):
        beyond = beyond_photo(prepared.photo_size, found.transform)
        page = np.where(beyond, np.uint8(WHITE), drawing) if beyond.any() else drawing
        kept.append(without_strays(page, found.portrait.mask) if background == "white" else page)
    return kept
