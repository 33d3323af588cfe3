"""The six local regions of a portrait: taking them out of a picture, putting their drawings back (sec. 4.1).

Boxes lie at a place of their own in every portrait of a batch. A crop, and its way back, is two batched
products with 0/1 matrices that select rows and columns. A product adds one pixel to zeros, so it is exact in
every precision, and it exports as one graph where a loop over whole numbers would be frozen.
"""

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from engines.portrait import EYE_LEFT, EYE_RAISE, EYE_RIGHT, MOUTH, NOSE, NOSE_RAISE, SIZE, LocalRegion


class LocalParts(NamedTuple):
    """One tensor for each local region: crops, or whole pictures for hair and background."""

    eye_left: Tensor  # [B, C, 80, 112]
    eye_right: Tensor  # [B, C, 80, 112]
    nose: Tensor  # [B, C, 96, 96]
    mouth: Tensor  # [B, C, 80, 128]
    hair: Tensor  # [B, C, 512, 512]
    background: Tensor  # [B, C, 512, 512]


class Box(NamedTuple):
    """A box around a feature, h x w pixels, as the matrices that select its rows and columns.

    What lies outside the portrait is selected by a row of zeros.
    """

    rows: Tensor  # [B, h, 512], 0 or 1
    columns: Tensor  # [B, w, 512], 0 or 1


class Regions(NamedTuple):
    """Where the local regions of each portrait in a batch are."""

    boxes: tuple[Box, Box, Box, Box]  # left eye, right eye, nose, mouth
    hair: Tensor  # [B, 1, 512, 512], 1 on the person outside the four boxes, else 0
    background: Tensor  # [B, 1, 512, 512], 1 outside the person, else 0

    @classmethod
    def of(cls, landmarks: Tensor, mask: Tensor) -> "Regions":
        """Finds the regions.

        Args:
            landmarks: [B, 5, 2] pixels (x, y), in the order of `engines.portrait.TEMPLATE`; rounded here.
            mask: float [B, 1, 512, 512], the person from 0.5 on.
        """
        person = (mask >= 0.5).to(mask.dtype)
        boxes = local_boxes(landmarks, mask.dtype)
        outside_boxes = [1 - footprint(box) for box in boxes]
        return cls(boxes, reduce(torch.mul, outside_boxes, person), 1 - person)

    def parts(self, picture: Tensor) -> LocalParts:
        """Takes the local regions out of float [B, C, 512, 512] in [-1, 1]: what local networks are given."""
        eye_left, eye_right, nose, mouth = (crop(picture, box) for box in self.boxes)
        hair, background = masked(picture, self.hair), masked(picture, self.background)
        return LocalParts(eye_left, eye_right, nose, mouth, hair, background)

    def combine(self, drawings: LocalParts) -> Tensor:
        """Puts local drawings together to I_local, [B, 1, 512, 512]: at each pixel the darkest of the six."""
        placed = [place(drawing, box) for drawing, box in zip(drawings[:4], self.boxes, strict=True)]
        placed.append(whitened(drawings.hair, self.hair))
        placed.append(whitened(drawings.background, self.background))
        return reduce(torch.minimum, placed)


def local_boxes(landmarks: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Box, Box, Box, Box]:
    """The boxes of the left eye, the right eye, the nose and the mouth.

    Args:
        landmarks: [B, 5, 2] pixels (x, y); rounded to whole ones here.
        dtype: type of the matrices.
    """
    # Whole numbers from here on: a coordinate over 256 is not exact in bfloat16.
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks.round().to(torch.int32).unbind(dim=1)
    mouth = (left_mouth + right_mouth) // 2  # not torch.div, which is exported by way of floats

    def box(point: Tensor, region: LocalRegion, above: int = 0) -> Box:
        x, y = point.unbind(dim=1)
        return Box(_selection(y - above, region.height, dtype), _selection(x, region.width, dtype))

    return (
        box(left_eye, EYE_LEFT, EYE_RAISE),
        box(right_eye, EYE_RIGHT, EYE_RAISE),
        box(nose, NOSE, NOSE_RAISE),
        box(mouth, MOUTH),
    )


def crop(picture: Tensor, box: Box) -> Tensor:
    """Cuts [B, C, h, w] out of [B, C, 512, 512]; white (1) where the box leaves it, as in alignment."""
    rows, columns = box.rows.unsqueeze(1), box.columns.unsqueeze(1)
    inside = rows.sum(dim=3).unsqueeze(3) * columns.sum(dim=3).unsqueeze(2)  # [B, 1, h, w]
    return rows @ picture.to(rows.dtype) @ columns.mT + (1 - inside)


def place(drawing: Tensor, box: Box) -> Tensor:
    """Puts [B, 1, h, w] at its place on a white (1) page [B, 1, 512, 512]; what leaves the page is lost."""
    rows, columns = box.rows.unsqueeze(1), box.columns.unsqueeze(1)
    return rows.mT @ drawing.to(rows.dtype) @ columns + (1 - footprint(box))


def footprint(box: Box) -> Tensor:
    """[B, 1, 512, 512]: 1 inside the box, else 0."""
    rows, columns = box.rows.sum(dim=1), box.columns.sum(dim=1)  # [B, 512] each
    return (rows.unsqueeze(2) * columns.unsqueeze(1)).unsqueeze(1)


def masked(picture: Tensor, mask: Tensor) -> Tensor:
    """The picture, float [B, C, H, W] in [-1, 1], inside a 0/1 mask [B, 1, H, W]; black (-1) outside it."""
    return picture * mask + (mask - 1)


def whitened(drawing: Tensor, mask: Tensor) -> Tensor:
    """The drawing, float [B, 1, H, W] in [-1, 1], inside a 0/1 mask [B, 1, H, W]; white (1) outside it."""
    return drawing * mask + (1 - mask)


def _selection(centre: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """[B] whole centres to [B, size, 512]: row i selects pixel centre - size / 2 + i."""
    offsets = torch.arange(-(size // 2), size - size // 2, dtype=torch.int32, device=centre.device)
    pixels = torch.arange(SIZE, dtype=torch.int32, device=centre.device)
    wanted = centre.unsqueeze(1) + offsets  # [B, size]
    return (wanted.unsqueeze(2) == pixels).to(dtype)
