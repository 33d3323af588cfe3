"""A data set as training pairs: portrait and drawing, moved and altered together (sec. 6).

Two layouts are read. One is what `apdraw prepare` writes:

    index.jsonl   photos/NAME.png   drawings/NAME.png   landmarks/NAME.txt   masks/NAME.png

The other is the authors' own, photo and drawing side by side in one picture of 1024 x 512; `data/test` is the split
`val`. The folders in brackets are those of their example.

    data/train/NAME.png   data/test/NAME.png   landmark/ALL/NAME.txt [lm/]   mask/ALL/NAME.png [bg/]
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engines.errors import DatasetError
from engines.landmarks_file import parse_landmarks
from engines.portrait import SIZE, WHITE, Image, Landmarks, Portrait
from engines.regular_files import OutsideError, read_regular
from train.data.augmentation import Augmentation, Floats, vary
from train.data.layout import INDEX, Split, file_of

__all__ = ["Augmentation", "Floats", "Pair", "PortraitPairs", "read_index"]

AUTHORS_SPLITS: Final = {"train": "data/train", "val": "data/test"}
AUTHORS_LANDMARKS: Final = ("landmark/ALL", "lm")
AUTHORS_MASKS: Final = ("mask/ALL", "bg")


class Pair(NamedTuple):
    """One or more training pairs as tensors."""

    photo: Tensor  # float32 [B, 3, 512, 512] in [-1, 1], RGB
    drawing: Tensor  # float32 [B, 1, 512, 512] in [-1, 1], 1 white
    landmarks: Tensor  # float32 [B, 5, 2], whole pixels
    mask: Tensor  # float32 [B, 1, 512, 512], 1 on the person

    def portrait(self) -> Portrait:
        """The portrait of a pair without a batch dimension, as an engine takes it."""
        photo = np.rint((self.photo.permute(1, 2, 0).numpy() + 1) * (WHITE / 2)).astype(np.uint8)
        mask = np.where(self.mask[0].numpy() > 0.5, WHITE, 0).astype(np.uint8)
        return Portrait(np.ascontiguousarray(photo), self.landmarks.numpy(), mask)


@dataclass(frozen=True)
class _Entry:
    """The files of one pair; without one of its own, the drawing is the right half of the photo's."""

    name: str
    photo: Path
    drawing: Path | None
    landmarks: Path
    mask: Path


class PortraitPairs(Dataset[Pair]):
    """The pairs of one split.

    `pairs[epoch, index]` depends on nothing but the files, the seed and these two, so that a run that was stopped can
    go on exactly; `pairs[index]` is that of epoch 0.

    Args:
        folder: a prepared data set, or one in the authors' layout.
        split: `train` or `val`.
        augmentation: None leaves the pairs as they are.
        seed: seed of the augmentation.

    Attributes:
        names: names of the pairs, in their order.

    Raises:
        DatasetError: the folder is no data set, or holds no portraits of that split.
    """

    def __init__(self, folder: Path, split: Split, augmentation: Augmentation | None = None, seed: int = 0) -> None:
        self.folder = folder
        self.augmentation = augmentation
        self.seed = seed
        authors = not (folder / INDEX).exists() and any((folder / data).is_dir() for data in AUTHORS_SPLITS.values())
        self._entries = _authors_entries(folder, split) if authors else _prepared_entries(folder, split)
        if not self._entries:
            raise DatasetError(f"{folder} holds no portraits of the split {split}: prepare more photos, or use another")
        self.names = [entry.name for entry in self._entries]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, key: int | tuple[int, int]) -> Pair:
        """Pair `index` as it is in `epoch`, without a batch dimension.

        Raises:
            DatasetError: one of its files is missing, damaged or of the wrong size.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        photo, drawing, mask, landmarks = self.read(index)
        if self.augmentation:
            rng = np.random.default_rng([self.seed, epoch, index])
            photo, drawing, mask, landmarks = vary(photo, drawing, mask, landmarks, self.augmentation, rng)
        return Pair(
            torch.from_numpy(photo.astype(np.float32) / 127.5 - 1).permute(2, 0, 1),
            torch.from_numpy(drawing.astype(np.float32) / 127.5 - 1)[None],
            torch.from_numpy(np.rint(landmarks).astype(np.float32)),
            torch.from_numpy((mask > 127).astype(np.float32))[None],
        )

    def read(self, index: int) -> tuple[Image, Image, Image, Landmarks]:
        """The files of pair `index` as they are, whatever the augmentation.

        Returns:
            Photo uint8 [512, 512, 3] RGB, drawing uint8 [512, 512], mask uint8 [512, 512] of 0 and 255, and landmarks
            float32 [5, 2].

        Raises:
            DatasetError: one of them is missing, damaged or of the wrong size.
        """
        entry = self._entries[index]
        photo, drawing = _read_pair(entry)
        mask = read_picture(entry.mask, cv2.IMREAD_GRAYSCALE, SIZE)
        mask = np.where(mask > mask.max() / 2, 255, 0).astype(np.uint8)  # a mask may be 0 and 1
        return photo, drawing, mask, _read_landmarks(entry.landmarks)


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The lines of a prepared data set's index; each has `name`, `split` and `left_out`.

    Raises:
        DatasetError: the folder is no prepared data set, or its index is damaged.
    """
    path = folder / INDEX
    try:
        lines = read_regular(path).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        if (folder / ".apdraw-prepare").is_dir():
            raise DatasetError(f"{folder} is not finished: run its apdraw prepare again") from error
        reason = error.strerror if isinstance(error, OSError) else "not in UTF-8"
        raise DatasetError(
            f"{folder} is no prepared data set: {reason} (index.jsonl); make one with apdraw prepare"
        ) from error
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            entry["name"], entry["split"], entry["left_out"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DatasetError(f"{path} is damaged at line {number}: run apdraw prepare again") from error
        entries.append(entry)
    return entries


def _prepared_entries(folder: Path, split: Split) -> list[_Entry]:
    names = [entry["name"] for entry in read_index(folder) if entry["split"] == split and not entry["left_out"]]
    try:
        return [
            _Entry(name, *(file_of(folder, kind, name) for kind in ("photos", "drawings", "landmarks", "masks")))
            for name in names
        ]
    except OutsideError as error:
        raise DatasetError(
            f"{folder / INDEX} names {error.filename!r}, which is no portrait's name: run apdraw prepare again"
        ) from error


def _authors_entries(folder: Path, split: Split) -> list[_Entry]:
    landmarks, masks = (
        next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])
        for names in (AUTHORS_LANDMARKS, AUTHORS_MASKS)
    )
    pairs = sorted((folder / AUTHORS_SPLITS[split]).glob("*.png"))
    entries = [_Entry(p.stem, p, None, landmarks / f"{p.stem}.txt", masks / f"{p.stem}.png") for p in pairs]
    for entry in entries:
        for path in (entry.landmarks, entry.mask):
            if not path.is_file():
                raise DatasetError(f"{path} is missing, which belongs to {entry.photo}: add it, or take the pair away")
    return entries


def _read_pair(entry: _Entry) -> tuple[Image, Image]:
    """Photo uint8 [512, 512, 3] RGB and drawing uint8 [512, 512]."""
    if entry.drawing:
        photo = read_picture(entry.photo, cv2.IMREAD_COLOR_RGB, SIZE)
        return photo, read_picture(entry.drawing, cv2.IMREAD_GRAYSCALE, SIZE)
    both = read_picture(entry.photo, cv2.IMREAD_COLOR_RGB, 2 * SIZE)
    drawing = cv2.cvtColor(np.ascontiguousarray(both[:, SIZE:]), cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(both[:, :SIZE]), np.asarray(drawing, np.uint8)


def read_picture(path: Path, flags: int, width: int) -> Image:
    """A picture of a data set, uint8 [512, width] or [512, width, 3].

    Args:
        path: the file.
        flags: flags of `cv2.imdecode`.
        width: width that it must have, pixels.

    Raises:
        DatasetError: it is missing, damaged or of the wrong size.
    """
    data = np.frombuffer(_read(path), np.uint8)
    image = cv2.imdecode(data, flags) if data.size else None
    if image is None:
        raise DatasetError(f"{path} is damaged: prepare the data set again, or take the pair away")
    if image.shape[:2] != (SIZE, width):
        height, found = image.shape[:2]
        sizes = f"{found} x {height} pixels, not {width} x {SIZE}"
        raise DatasetError(f"{path} is {sizes}: prepare the data set again, or take the pair away")
    return np.asarray(image, np.uint8)


def _read_landmarks(path: Path) -> Landmarks:
    try:
        return parse_landmarks(_read(path))
    except ValueError as error:
        raise DatasetError(
            f"{path} does not hold five lines 'x y': prepare the data set again, or take the pair away"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error.strerror}): prepare the data set again, or take the pair away"
        ) from error
