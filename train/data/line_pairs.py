"""Training pairs for the line detectors of L_DT: two-tone drawings and their lines (sec. 5, footnote 2), varied."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engines.errors import DatasetError
from engines.portrait import SIZE, WHITE, Image
from train.data.layout import Split, file_of
from train.data.pairs import read_index, read_picture
from train.npr.line_map import BLACK_LINE, NO_LINE, WHITE_LINE


class LinePair(NamedTuple):
    """One or more drawings and their lines as tensors."""

    drawing: Tensor  # float32 [B, 1, 512, 512] in [-1, 1], 1 white
    black: Tensor  # float32 [B, 1, 512, 512], 1 on black lines, else 0
    white: Tensor  # float32 [B, 1, 512, 512], 1 on white lines, else 0


class LinePairs(Dataset[LinePair]):
    """The drawings of one split with their line maps, those to train on varied.

    `pairs[epoch, index]` depends on nothing but the seed and these two; `pairs[index]` is that of epoch 0.

    Args:
        folder: a data set made with `apdraw prepare --npr`.
        split: `train`, which is varied, or `val`, which is left as it is.
        seed: seed of the variation.

    Raises:
        DatasetError: the folder is no data set with line maps, or holds no portraits of that split.
    """

    def __init__(self, folder: Path, split: Split, seed: int = 0) -> None:
        self.folder = folder
        self.split = split
        self.seed = seed
        entries = read_index(folder)
        if not (folder / "lines").is_dir():
            raise DatasetError(f"{folder} has no line maps: prepare the photos with apdraw prepare --npr")
        self.names: list[str] = [e["name"] for e in entries if e["split"] == split and not e["left_out"]]
        if not self.names:
            raise DatasetError(f"{folder} holds no portraits of the split {split}")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, key: int | tuple[int, int]) -> LinePair:
        """Pair `index` as it is in `epoch`, without a batch dimension.

        Raises:
            DatasetError: a picture is missing or cannot be read.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        name = self.names[index]
        drawing = read_picture(file_of(self.folder, "drawings", name), cv2.IMREAD_GRAYSCALE, SIZE)
        lines = read_picture(file_of(self.folder, "lines", name), cv2.IMREAD_GRAYSCALE, SIZE)
        if not np.isin(lines, (BLACK_LINE, WHITE_LINE, NO_LINE)).all():
            raise DatasetError(
                f"{self.folder / 'lines' / name}.png is no line map: it has values other than 0, 128 and 255; "
                "prepare the photos with apdraw prepare --npr"
            )
        if self.split == "train":
            drawing, lines = vary(drawing, lines, np.random.default_rng([self.seed, epoch, index]))
        return LinePair(
            torch.from_numpy(drawing.astype(np.float32) / 127.5 - 1)[None],
            torch.from_numpy((lines == BLACK_LINE).astype(np.float32))[None],
            torch.from_numpy((lines == WHITE_LINE).astype(np.float32))[None],
        )


def vary(drawing: Image, lines: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """Moves a drawing and its lines alike, and makes the drawing look like one that a network is still learning.

    Args:
        drawing: uint8 [512, 512], 255 white.
        lines: its line map, uint8 [512, 512], see `train.npr.line_map`.
        rng: random generator; the same gives the same pair.

    Returns:
        Both: flipped, rotated by up to 10 degrees, enlarged by up to 1.1; lines broken here and there, and the drawing
        thicker, thinner, softer, greyer or noisy.
    """
    drawing, lines = _moved(drawing, lines, rng)
    if rng.random() < 0.5:
        drawing, lines = _broken(drawing, lines, rng)
    return _altered(drawing, rng), lines


def _moved(drawing: Image, lines: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    matrix = cv2.getRotationMatrix2D((SIZE / 2 - 0.5, SIZE / 2 - 0.5), rng.uniform(-10, 10), rng.uniform(1, 1.1))
    if rng.random() < 0.5:
        matrix = matrix @ np.array([[-1, 0, SIZE - 1], [0, 1, 0], [0, 0, 1]])
    moved = cv2.warpAffine(drawing, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderValue=WHITE)
    result = np.full_like(lines, NO_LINE)
    for value in (BLACK_LINE, WHITE_LINE):
        # The nearest pixel would tear a line one pixel wide.
        share = cv2.warpAffine((lines == value).astype(np.float32), matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        result[share > 0.4] = value
    return np.asarray(moved, np.uint8), result


def _broken(drawing: Image, lines: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """Gaps of a few pixels in some lines: there the tone is that beside the line, and there is no line."""
    drawing, lines = drawing.copy(), lines.copy()
    for value, tone in ((BLACK_LINE, WHITE), (WHITE_LINE, 0)):
        rows, columns = np.nonzero(lines == value)
        for chosen in rng.integers(0, max(len(rows), 1), int(rng.integers(0, 30)) if len(rows) else 0):
            centre, reach = (int(columns[chosen]), int(rows[chosen])), int(rng.integers(2, 5))
            cv2.circle(drawing, centre, reach, tone, -1, cv2.LINE_AA)
            cv2.circle(lines, centre, reach, NO_LINE, -1)
    return drawing, lines


def _altered(drawing: Image, rng: np.random.Generator) -> Image:
    if rng.random() < 0.5:
        kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
        changed = cv2.erode(drawing, kernel) if rng.random() < 0.5 else cv2.dilate(drawing, kernel)
        drawing = np.asarray(cv2.addWeighted(drawing, 0.5, changed, 0.5, 0), np.uint8)
    values = drawing.astype(np.float32) / np.float32(WHITE)
    if rng.random() < 0.5:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.3)), np.float32)
    if rng.random() < 0.5:
        black, white = rng.uniform(0, 0.3), rng.uniform(0.8, 1)
        values = np.float32(black) + np.float32(white - black) * values
    if rng.random() < 0.5:
        noise = rng.standard_normal(values.shape, dtype=np.float32)
        values = values + np.float32(rng.uniform(0.01, 0.08)) * noise
    varied: Image = np.clip(values * WHITE + 0.5, 0, WHITE).astype(np.uint8)
    return varied
