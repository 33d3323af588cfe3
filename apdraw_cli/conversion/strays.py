"""Takes strokes off a page that touch no person: connected areas of ink that lie outside the person as a whole."""

from typing import Final

import cv2
import numpy as np

from engines.portrait import WHITE, Image

REACH: Final = 6
"""Pixels from the person's mask that count as the person: masks are not exact, and a contour is drawn on both sides."""

FAINTEST_INK: Final = 191
"""Grey level up to which a pixel is ink; what is lighter is the soft edge of a stroke, or a shade of the page."""

_AROUND: Final = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (REACH + 1, REACH + 1))  # at half size
_BLOCK: Final = np.ones((2, 2), np.uint8)
_EDGE: Final = np.ones((3, 3), np.uint8)


def without_strays(drawing: Image, mask: Image) -> Image:
    """A drawing whose page is white but for strokes that touch the person: a loose strand or a hat's brim stays.

    Strokes are followed at half size, by the darkest of four pixels: in half the time, and over gaps of a pixel.

    Args:
        drawing: uint8 [H, W], 0 black to 255 white; H and W even.
        mask: uint8 [H, W], 255 on the person, else 0. Without a person nothing is taken off.

    Returns:
        uint8 [H, W].
    """
    person = cv2.dilate(mask[::2, ::2], _AROUND) > WHITE // 2
    if not person.any():
        return drawing
    ink = cv2.erode(drawing, _BLOCK, anchor=(0, 0))[::2, ::2] <= FAINTEST_INK
    kept = person
    if (ink & ~person).any():
        count, areas = cv2.connectedComponents((ink | person).astype(np.uint8), connectivity=8)
        touching = np.zeros(count, np.bool_)
        touching[areas[person]] = True
        kept = touching[areas]
    around = cv2.dilate(kept.astype(np.uint8), _EDGE).repeat(2, axis=0).repeat(2, axis=1)
    return np.where(around, drawing, np.uint8(WHITE))
