"""The six local regions of a portrait: taking them out of a picture, putting their drawings back (sec. 4.1).

Boxes lie at a place of their own in every portrait of a batch. A crop gathers its pixels from the flattened picture, a
page gathers its pixels from the flattened drawing. Values are copied, so both are exact in every precision, and a batch
exports as one graph, where a loop over whole numbers would be frozen.
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
    """A box around a feature in each portrait of a batch, `height` x `width` pixels; it may leave the portrait."""

    top: Tensor  # [B], whole numbers
    left: Tensor  # [B], whole numbers
    height: int
    width: int


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
        boxes = local_boxes(landmarks)
        outside_boxes = [1 - footprint(box).to(mask.dtype) for box in boxes]
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


def local_boxes(landmarks: Tensor) -> tuple[Box, Box, Box, Box]:
    """The boxes of the left eye, the right eye, the nose and the mouth.

    Args:
        landmarks: [B, 5, 2] pixels (x, y); rounded to whole ones here.
    """
    # Whole numbers from here on: a coordinate over 256 is not exact in bfloat16.
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks.round().to(torch.int32).unbind(dim=1)
    mouth = (left_mouth + right_mouth) // 2  # not torch.div, which is exported by way of floats

    def box(centre: Tensor, region: LocalRegion, above: int = 0) -> Box:
        x, y = centre.unbind(dim=1)
        return Box(y - (above + region.height // 2), x - region.width // 2, region.height, region.width)

    return (
        box(left_eye, EYE_LEFT, EYE_RAISE),
        box(right_eye, EYE_RIGHT, EYE_RAISE),
        box(nose, NOSE, NOSE_RAISE),
        box(mouth, MOUTH),
    )


def crop(picture: Tensor, box: Box) -> Tensor:
    """Cuts [B, C, h, w] out of [B, C, 512, 512]; white (1) where the box leaves it, as in alignment."""
    rows = box.top.unsqueeze(1) + _range(box.height, box)  # [B, h], of the picture
    columns = box.left.unsqueeze(1) + _range(box.width, box)  # [B, w]
    return _gathered(picture, rows, columns)


def place(drawing: Tensor, box: Box) -> Tensor:
    """Puts [B, 1, h, w] at its place on a white (1) page [B, 1, 512, 512]; what leaves the page is lost."""
    return _gathered(drawing, *_from_page(box))


def footprint(box: Box) -> Tensor:
    """Bool [B, 1, 512, 512]: whether a pixel of the page is inside the box."""
    rows, columns = _from_page(box)
    return _inside(rows, columns, box.height, box.width)


def masked(picture: Tensor, mask: Tensor) -> Tensor:
    """The picture, float [B, C, H, W] in [-1, 1], inside a 0/1 mask [B, 1, H, W]; black (-1) outside it."""
    return picture * mask + (mask - 1)


def whitened(drawing: Tensor, mask: Tensor) -> Tensor:
    """The drawing, float [B, 1, H, W] in [-1, 1], inside a 0/1 mask [B, 1, H, W]; white (1) outside it."""
    return drawing * mask + (1 - mask)


def _from_page(box: Box) -> tuple[Tensor, Tensor]:
    """Row and column in the box, [B, 512] each, of the page's rows and columns."""
    pixels = _range(SIZE, box)
    return pixels - box.top.unsqueeze(1), pixels - box.left.unsqueeze(1)


def _gathered(picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels [B, C, h, w] at rows [B, h] and columns [B, w] of [B, C, H, W]; white (1) outside it."""
    height, width = picture.shape[2:]
    numbers = rows.clamp(0, height - 1).unsqueeze(2) * width + columns.clamp(0, width - 1).unsqueeze(1)  # [B, h, w]
    flat = numbers.flatten(1).to(torch.int64).unsqueeze(1).expand(-1, picture.shape[1], -1)
    found = picture.flatten(2).gather(2, flat).reshape(-1, picture.shape[1], rows.shape[1], columns.shape[1])
    return torch.where(_inside(rows, columns, height, width), found, 1.0)


def _inside(rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    """Bool [B, 1, h, w]: whether rows [B, h] and columns [B, w] lie in a picture of that height and width."""
    row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return (row_inside.unsqueeze(2) & column_inside.unsqueeze(1)).unsqueeze(1)


def _range(count: int, box: Box) -> Tensor:
    return torch.arange(count, dtype=box.top.dtype, device=box.top.device)
