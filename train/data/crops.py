"""Training pairs for the local networks alone: crops of photo and drawing at each region, moved a little in place.

Of the eyes, the nose and the mouth a crop is the region's box, as the generator cuts it; of hair and background it is
the whole portrait, black outside the region, as their networks see it (sec. 4.1): norms go by all of what they see.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engines.portrait import (
    EYE_LEFT,
    EYE_RAISE,
    EYE_RIGHT,
    MOUTH,
    NOSE,
    NOSE_RAISE,
    SIZE,
    WHITE,
    Image,
    Landmarks,
)
from train.data.augmentation import Augmentation, relight
from train.data.layout import Split
from train.data.pairs import PortraitPairs

BOXES: Final = (EYE_LEFT, EYE_RIGHT, NOSE, MOUTH)
"""The regions whose crops are boxes."""

SHIFT: Final = 5
"""Pixels by which a varied crop is moved to either side, in x and in y: landmarks are never exact."""

MARGIN: Final = 24
"""Pixels kept around a box, enough for a crop that is moved by `SHIFT`, turned by 10 degrees and shrunk by 1.1."""

_MIRRORED: Final = {"eye_left": "eye_right", "eye_right": "eye_left"}


class Crop(NamedTuple):
    """One region of one or more portraits: what its local network is given, and what it should draw."""

    photo: Tensor  # float32 [B, 3, h, w] in [-1, 1], RGB; black (-1) outside the mask
    drawing: Tensor  # float32 [B, 1, h, w] in [-1, 1], 1 white
    mask: Tensor  # float32 [B, 1, h, w], 1 inside the region; 1 all over for eyes, nose and mouth


class _Patch(NamedTuple):
    """A part of a portrait that holds a crop and some margin."""

    photo: Image  # uint8 [H, W, 3], RGB
    drawing: Image  # uint8 [H, W]
    mask: Image  # uint8 [H, W], 255 inside the region
    beyond: int  # of the mask beyond the patch
    centre: tuple[float, float]  # of the crop in the patch: x, y in pixels from the patch's corner
    size: tuple[int, int]  # of the crop: height, width


class CropPairs(Dataset[dict[str, Crop]]):
    """The crops of one split by region: `pairs[epoch, index]` holds one of each region of portrait `index`.

    It depends on nothing but the files, the seed and these two. Boxes are kept in memory once they were read, about
    0.3 MB a portrait; for hair and background the portrait is read each time.

    Args:
        folder: a prepared data set, or one in the authors' layout.
        split: `train` or `val`.
        regions: names of those that are wanted, of `train.options.REGIONS`.
        augmentation: rotation, scale, flip and light are taken from it; None cuts the boxes exactly where the
            generator does.
        seed: seed of the augmentation.

    Attributes:
        names: names of the portraits, in their order.

    Raises:
        DatasetError: the folder is no data set, or holds no portraits of that split.
    """

    def __init__(
        self,
        folder: Path,
        split: Split,
        regions: Collection[str],
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self._portraits = PortraitPairs(folder, split)
        self._regions = regions
        self._augmentation = augmentation
        self._seed = seed
        self._boxes: dict[int, dict[str, _Patch]] = {}
        self.names = self._portraits.names

    def __len__(self) -> int:
        return len(self._portraits)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Crop]:
        """The crops of portrait `index` as they are in `epoch`, by region, without a batch dimension.

        Raises:
            DatasetError: one of its files is missing, damaged or of the wrong size.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        rng = np.random.default_rng([self._seed, epoch, index])
        how = self._augmentation
        flip = how is not None and how.flip and rng.random() < 0.5
        patches = self._patches(index)
        crops = {}
        for region in self._regions:
            patch = patches[_MIRRORED.get(region, region) if flip else region]
            photo, drawing, mask = _exactly(patch) if how is None else _moved(patch, how, rng)
            if flip:
                photo, drawing, mask = photo[:, ::-1], drawing[:, ::-1], mask[:, ::-1]
            if how is not None and how.photometric:
                photo = relight(np.ascontiguousarray(photo), rng)
            inside = mask > WHITE / 2
            crops[region] = Crop(
                torch.from_numpy(np.where(inside[..., None], photo, 0).astype(np.float32) / 127.5 - 1).permute(2, 0, 1),
                torch.from_numpy(drawing.astype(np.float32) / 127.5 - 1)[None],
                torch.from_numpy(inside.astype(np.float32))[None],
            )
        return crops

    def _patches(self, index: int) -> dict[str, _Patch]:
        """The patches of a portrait by region: those of boxes always, those of hair and background where wanted."""
        whole = [region for region in self._regions if region in ("hair", "background")]
        if not whole and index in self._boxes:
            return self._boxes[index]
        photo, drawing, person, landmarks = self._portraits.read(index)
        centres = _centres(landmarks)
        if index not in self._boxes:
            self._boxes[index] = {
                box.name: _box(photo, drawing, centres[box.name], (box.height, box.width)) for box in BOXES
            }
        patches = dict(self._boxes[index])
        for region in whole:
            mask = _hair(person, centres) if region == "hair" else np.asarray(WHITE - person, np.uint8)
            beyond = 0 if region == "hair" else WHITE
            patches[region] = _Patch(photo, drawing, mask, beyond, (SIZE / 2, SIZE / 2), (SIZE, SIZE))
        return patches


def _centres(landmarks: Landmarks) -> dict[str, tuple[int, int]]:
    """The middles of the four boxes, x and y in whole pixels, as `train.networks.regions.local_boxes` has them."""
    left_eye, right_eye, nose, left_mouth, right_mouth = ((int(x), int(y)) for x, y in np.rint(landmarks))
    return {
        EYE_LEFT.name: (left_eye[0], left_eye[1] - EYE_RAISE),
        EYE_RIGHT.name: (right_eye[0], right_eye[1] - EYE_RAISE),
        NOSE.name: (nose[0], nose[1] - NOSE_RAISE),
        MOUTH.name: ((left_mouth[0] + right_mouth[0]) // 2, (left_mouth[1] + right_mouth[1]) // 2),
    }


def _hair(person: Image, centres: dict[str, tuple[int, int]]) -> Image:
    """The person outside the four boxes, uint8 [512, 512], 255 inside."""
    mask = person.copy()
    for box in BOXES:
        x, y = centres[box.name]
        left, top = x - box.width // 2, y - box.height // 2
        mask[max(0, top) : max(0, top + box.height), max(0, left) : max(0, left + box.width)] = 0
    return mask


def _box(photo: Image, drawing: Image, centre: tuple[int, int], size: tuple[int, int]) -> _Patch:
    """A box and `MARGIN` around it, white where it leaves the portrait."""
    height, width = size[0] + 2 * MARGIN, size[1] + 2 * MARGIN
    move = np.array([[1, 0, width // 2 - centre[0]], [0, 1, height // 2 - centre[1]]], np.float32)
    cut, drawn = (
        np.asarray(cv2.warpAffine(picture, move, (width, height), flags=cv2.INTER_NEAREST, borderValue=(WHITE,) * 3))
        for picture in (photo, drawing)
    )
    whole = np.full(drawn.shape, WHITE, np.uint8)
    return _Patch(cut.astype(np.uint8), drawn.astype(np.uint8), whole, WHITE, (width / 2, height / 2), size)


def _exactly(patch: _Patch) -> tuple[Image, Image, Image]:
    """The crop as it lies in the patch."""
    height, width = patch.size
    left, top = int(patch.centre[0]) - width // 2, int(patch.centre[1]) - height // 2
    place = slice(top, top + height), slice(left, left + width)
    return patch.photo[place], patch.drawing[place], patch.mask[place]


def _moved(patch: _Patch, how: Augmentation, rng: np.random.Generator) -> tuple[Image, Image, Image]:
    """The crop moved by up to `SHIFT`, turned and scaled about its middle."""
    height, width = patch.size
    x, y = patch.centre
    angle, scale = rng.uniform(-how.rotation, how.rotation), how.scale ** rng.uniform(-1, 1)
    matrix = cv2.getRotationMatrix2D((x - 0.5, y - 0.5), angle, scale)
    matrix[:, 2] += np.array([width / 2 - x, height / 2 - y]) + rng.uniform(-SHIFT, SHIFT, 2)
    size = (width, height)
    photo = cv2.warpAffine(patch.photo, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(WHITE,) * 3)
    drawing = cv2.warpAffine(patch.drawing, matrix, size, flags=cv2.INTER_CUBIC, borderValue=WHITE)
    mask = cv2.warpAffine(patch.mask, matrix, size, flags=cv2.INTER_NEAREST, borderValue=patch.beyond)
    return np.asarray(photo, np.uint8), np.asarray(drawing, np.uint8), np.asarray(mask, np.uint8)
