"""Distance transforms of drawings (sec. 5): how far each pixel is from the nearest black and the nearest white one.

The artist's drawing is measured exactly. The generated one is measured by a transform with a gradient, which must
reach white pixels too, or no line could ever appear where one is missing: the mean of the distance over all
thresholds of the ink, instead of the distance at one threshold.
"""

from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

RADIUS: Final = 16
"""Pixels beyond which `soft_distances` sees nothing: misalignments are smaller, and the work grows with it."""

_SQUARES: Final = 2**0.5 - 1
"""Share of squares among crosses and squares that makes an octagon as far along its diagonals as along its axes."""


def exact_distances(drawing: Tensor) -> tuple[Tensor, Tensor]:
    """The Euclidean distance transforms I_DT and I'_DT of binarised drawings. No gradient.

    Computed by OpenCV on the CPU, whatever the device of the drawings.

    Args:
        drawing: float [B, 1, H, W] in [-1, 1]; grey levels over 127 of 255, here over 0, count as white.

    Returns:
        The distances to the nearest black and to the nearest white pixel's centre, in pixels, float32 [B, 1, H, W] on
        the drawings' device: 0 on a pixel of that tone. In a drawing without any, the picture's diagonal everywhere.
    """
    if drawing.is_meta:  # nothing to measure: `train.cost` asks for the shapes alone
        return torch.empty_like(drawing), torch.empty_like(drawing)
    white = (drawing.detach().float().cpu().numpy() > 0).astype(np.uint8)
    maps = np.empty((2, *white.shape), np.float32)
    diagonal = float(np.hypot(*white.shape[2:]))
    for index in range(len(white)):
        for tone, others in enumerate((white[index, 0], 1 - white[index, 0])):
            missing = bool(others.all())
            maps[tone, index, 0] = (
                diagonal if missing else cv2.distanceTransform(others, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            )
    black, white_map = torch.from_numpy(maps).to(drawing.device)
    return black, white_map


def soft_distances(drawing: Tensor, radius: int = RADIUS) -> tuple[Tensor, Tensor]:
    """Distances to black and white that have a gradient in the drawing, also where it is blank.

    With m_r(q) the darkest ink within r pixels of q, the distance to black at q is the sum of 1 - m_r(q) over the radii
    r = 0, 1, ..., radius - 1. For two tones that is the distance to the nearest black pixel; for grey ones its mean
    over all thresholds of ink. Making a pixel p darker shortens the distance of every q near it that has nothing
    darker nearer by, most of all at p itself: by as much as q lacks. So the gradient of one distance is bounded by the
    distance. Equal inks count for the nearest pixel.

    Discs are octagons, grown from radius to radius by a cross or a square of 3 x 3: at most 8 % too long.

    Args:
        drawing: float [B, 1, H, W] in [-1, 1], 1 white; computed in its dtype, at least float32.
        radius: pixels; no distance is larger.

    Returns:
        The distances to black and to white in pixels, 0 to radius, [B, 1, H, W] each.
    """
    values = drawing if drawing.dtype == torch.float64 else drawing.float()
    whiteness = (values + 1) / 2
    nearest = torch.cat((1 - whiteness, whiteness), dim=1)
    distance = 1 - nearest
    for step in range(1, radius):
        square = round(step * _SQUARES) != round((step - 1) * _SQUARES)
        nearest = _grown(nearest, square)
        distance = distance + (1 - nearest)
    return distance[:, :1], distance[:, 1:]


def _grown(plane: Tensor, square: bool) -> Tensor:
    """The largest value among a pixel and its four or, in a square, eight neighbours; itself among equals."""
    rows = F.max_pool2d(plane, (3, 1), 1, (1, 0))
    if square:
        largest = F.max_pool2d(rows, (1, 3), 1, (0, 1))
    else:
        largest = torch.maximum(rows, F.max_pool2d(plane, (1, 3), 1, (0, 1)))
    return torch.where(largest > plane, largest, plane)
