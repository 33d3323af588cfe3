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

    Strokes are followed at half size, by the darkest of four pixels: in half the time, and over gaps of a pixel. Calls
    of OpenCV let other threads go on, which NumPy's indexing does not.

    Args:
        drawing: uint8 [H, W], 0 black to 255 white; H and W even.
        mask: uint8 [H, W], 255 on the person, else 0. Without a person nothing is taken off.

    Returns:
        uint8 [H, W].
    """
    half = cv2.dilate(mask[::2, ::2], _AROUND)
    person = cv2.threshold(half, WHITE // 2, 1, cv2.THRESH_BINARY)[1]
    if not cv2.countNonZero(person):
        return drawing
    darkest = cv2.erode(drawing, _BLOCK, anchor=(0, 0))[::2, ::2]
    ink = cv2.threshold(darkest, FAINTEST_INK, 1, cv2.THRESH_BINARY_INV)[1]
    either = cv2.bitwise_or(ink, person)
    kept = person
    if cv2.countNonZero(either) > cv2.countNonZero(person):
        count, areas = cv2.connectedComponents(either, connectivity=8, ltype=cv2.CV_16U)
        touching = cv2.calcHist([areas], [0], person, [count], [0, count]).ravel() > 0
        kept = np.take(touching, areas).view(np.uint8)
    around = cv2.resize(cv2.dilate(kept, _EDGE), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    page = np.full_like(drawing, WHITE)
    cv2.copyTo(drawing, around, page)
    return page
