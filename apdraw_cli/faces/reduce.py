"""Reduces photos fast and with little aliasing: halved by means of 2 x 2 pixels, then interpolated linearly.

Linear interpolation reads nearly every pixel down to half the size, so a photo is halved as often as that leaves it no
smaller than wanted. Together they take a tenth of the time of means over areas of any size (`INTER_AREA`).
"""

import numpy as np

from engines.portrait import Image


def halved(photo: Image, scale: float) -> tuple[Image, int]:
    """A photo halved as long as that leaves it no smaller than at `scale`.

    An odd length loses its last pixel.

    Args:
        photo: uint8 [H, W, 3].
        scale: over 0.

    Returns:
        uint8 [H / factor, W / factor, 3], and the factor: a point p of it is (p + 0.5) * factor - 0.5 in the photo.
    """
    import cv2

    factor = 1
    while scale * factor <= 0.5 and min(photo.shape[:2]) > 1:
        rows, columns = photo.shape[0] // 2, photo.shape[1] // 2
        half = cv2.resize(photo[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)
        photo = np.asarray(half, np.uint8)
        factor *= 2
    return photo, factor


def reduced(photo: Image, scale: float) -> tuple[Image, tuple[float, float]]:
    """A photo at a smaller scale.

    Args:
        photo: uint8 [H, W, 3].
        scale: factor for both sides, over 0, up to 1.

    Returns:
        uint8 [h, w, 3], each side at least 1, and how many of the photo's pixels one of its pixels stands for, along
        x and y: a point p of it is (p + 0.5) * factor - 0.5 in the photo.
    """
    import cv2

    height, width = (max(1, round(side * scale)) for side in photo.shape[:2])
    photo, halves = halved(photo, scale)
    factors = halves * photo.shape[1] / width, halves * photo.shape[0] / height
    if photo.shape[:2] != (height, width):
        photo = np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return photo, factors
