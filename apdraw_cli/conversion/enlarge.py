"""Enlarges drawings with crisp lines: edges are smoothed along themselves, interpolated, and made steep again.

A drawing's edges are a pixel wide, so that interpolation alone shows its pixels as steps. Curvature motion moves each
edge by how bent it is: steps go, straight lines stay, and nothing is blurred across. Then grey levels are spread around
the middle between the darkest and the lightest near by, so that a faint line stays faint, and crisp.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engines.portrait import WHITE, Image

FINER: Final = 2
"""Edges are smoothed at so many times a drawing's size."""

STEPS: Final = 4
STEP: Final = 0.25
"""Of curvature motion; `STEPS` of them smooth over 0.7 pixels of the drawing along an edge."""

FLAT: Final = 6.5
"""Squared grey levels a pixel: where it rises less, there is no edge."""

NEAR: Final = 5
"""Pixels of the drawing: side of the square in which darkest and lightest are looked for."""

LEAST_CONTRAST: Final = 2.5
"""Grey levels."""

Plane = npt.NDArray[np.float32]


def resized(drawing: Image, side: int) -> Image:
    """A square drawing at another size: enlarged with edges as sharp as they were in pixels, or reduced by area.

    Args:
        drawing: uint8 [N, N], 0 black to 255 white.
        side: height and width wanted, in pixels.

    Returns:
        uint8 [side, side].
    """
    import cv2

    now = drawing.shape[0]
    if side == now:
        return drawing
    if side < now:
        return np.asarray(cv2.resize(drawing, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    method = cv2.INTER_CUBIC if side > FINER * now else cv2.INTER_AREA
    values = cv2.resize(smoothed(drawing), (side, side), interpolation=method)
    around = np.ones((NEAR, NEAR), np.uint8)
    darkest, lightest = (
        cv2.resize(change(drawing, around).astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
        for change in (cv2.erode, cv2.dilate)
    )
    contrast = np.maximum(np.subtract(lightest, darkest, out=lightest), LEAST_CONTRAST)
    values -= darkest
    values /= contrast
    values -= 0.5
    values *= side / now
    values += 0.5
    np.clip(values, 0, 1, out=values)
    values *= contrast
    values += darkest
    values += 0.5
    return np.asarray(np.clip(values, 0, WHITE, out=values), np.uint8)


def smoothed(page: Image, steps: int = STEPS) -> Plane:
    """A picture at `FINER` times its size, without the steps that pixels make of edges.

    Args:
        page: uint8 [H, W], 0 black to 255 white.
        steps: number of steps of curvature motion.

    Returns:
        float32 [2 H, 2 W], 0 to 255.
    """
    import cv2

    size = (FINER * page.shape[1], FINER * page.shape[0])
    values = np.asarray(cv2.resize(page.astype(np.float32), size, interpolation=cv2.INTER_LANCZOS4), np.float32)
    for _ in range(steps):
        framed = cv2.copyMakeBorder(values, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        left, right, up, down = framed[1:-1, :-2], framed[1:-1, 2:], framed[:-2, 1:-1], framed[2:, 1:-1]
        x, y = (right - left) / 2, (down - up) / 2
        xx, yy = right + left - 2 * values, down + up - 2 * values
        xy = (framed[2:, 2:] + framed[:-2, :-2] - framed[2:, :-2] - framed[:-2, 2:]) / 4
        values = values + STEP * (xx * y * y - 2 * x * y * xy + yy * x * x) / (x * x + y * y + FLAT)
    return np.clip(values, 0, WHITE).astype(np.float32, copy=False)
