"""A prepared data set as training batches: pairs of portrait and drawing, moved and altered together (sec. 6)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engines.portrait import SIZE, WHITE, Image, Landmarks

Floats = npt.NDArray[np.float32]


class Pair(NamedTuple):
    """One or more training pairs as tensors."""

    photo: Tensor  # float32 [B, 3, 512, 512] in [-1, 1], RGB
    drawing: Tensor  # float32 [B, 1, 512, 512] in [-1, 1], 1 white
    landmarks: Tensor  # float32 [B, 5, 2], whole pixels
    mask: Tensor  # float32 [B, 1, 512, 512], 1 on the person


@dataclass(frozen=True)
class Augmentation:
    """How training pairs are varied. The paper's: rotation, scale and flip (sec. 6); the rest is for robustness.

    Attributes:
        rotation: degrees, to either side.
        scale: largest factor; the smallest is 1.
        shift: pixels, in any direction; alignment is never exact.
        landmark_jitter: pixels, of each landmark by itself.
        mask_jitter: pixels by which the person mask grows or shrinks.
        photometric: whether light, colour, sharpness and JPEG quality vary.
    """

    rotation: float = 10.0
    scale: float = 1.1
    shift: float = 6.0
    landmark_jitter: float = 1.5
    mask_jitter: int = 3
    photometric: bool = True


class PortraitPairs(Dataset[Pair]):
    """The portraits of one split.

    Args:
        folder: a prepared data set.
        split: `train` or `val`.
        augmentation: None leaves the pairs as they are.

    Raises:
        ValueError: the folder holds no portraits of that split.
    """

    def __init__(self, folder: Path, split: Literal["train", "val"], augmentation: Augmentation | None = None) -> None:
        self.folder = folder
        self.augmentation = augmentation
        entries = read_index(folder)
        self.names: list[str] = [e["name"] for e in entries if e["split"] == split and not e["left_out"]]
        if not self.names:
            raise ValueError(f"{folder} holds no portraits of the split {split}")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Pair:
        """Pair `index`, without a batch dimension; varied anew at each call."""
        name = self.names[index]
        photo = _read(self.folder / "photos" / f"{name}.png", cv2.IMREAD_COLOR_RGB)
        drawing = _read(self.folder / "drawings" / f"{name}.png", cv2.IMREAD_GRAYSCALE)
        mask = _read(self.folder / "masks" / f"{name}.png", cv2.IMREAD_GRAYSCALE)
        landmarks = np.loadtxt(self.folder / "landmarks" / f"{name}.txt", dtype=np.float32)
        if self.augmentation:
            # Numbers from torch's generator: the one that a training run seeds and keeps.
            rng = np.random.default_rng(int(torch.randint(2**62, ()).item()))
            photo, drawing, mask, landmarks = vary(photo, drawing, mask, landmarks, self.augmentation, rng)
        return Pair(
            torch.from_numpy(photo.astype(np.float32) / 127.5 - 1).permute(2, 0, 1),
            torch.from_numpy(drawing.astype(np.float32) / 127.5 - 1)[None],
            torch.from_numpy(np.rint(landmarks).astype(np.float32)),
            torch.from_numpy((mask > 127).astype(np.float32))[None],
        )


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The lines of a data set's index.

    Raises:
        ValueError: the folder is no prepared data set.
    """
    try:
        lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"{folder} is no prepared data set: {error.strerror} (index.jsonl)") from error
    return [json.loads(line) for line in lines]


def vary(
    photo: Image,
    drawing: Image,
    mask: Image,
    landmarks: Landmarks,
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[Image, Image, Image, Landmarks]:
    """Moves photo, drawing, mask and landmarks alike, and alters the photo alone."""
    flip = rng.random() < 0.5
    angle = rng.uniform(-how.rotation, how.rotation)
    matrix = cv2.getRotationMatrix2D((SIZE / 2 - 0.5, SIZE / 2 - 0.5), angle, rng.uniform(1, how.scale))
    matrix[:, 2] += rng.uniform(-how.shift, how.shift, 2)
    if flip:
        matrix = matrix @ np.array([[-1, 0, SIZE - 1], [0, 1, 0], [0, 0, 1]])
    size = (SIZE, SIZE)
    photo = cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(WHITE,) * 3)
    drawing = cv2.warpAffine(drawing, matrix, size, flags=cv2.INTER_CUBIC, borderValue=WHITE)
    mask = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST, borderValue=0)
    landmarks = (landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    if flip:
        landmarks = landmarks[[1, 0, 2, 4, 3]]
    landmarks = landmarks + rng.uniform(-how.landmark_jitter, how.landmark_jitter, (5, 2)).astype(np.float32)
    if how.mask_jitter:
        side = int(rng.integers(0, how.mask_jitter + 1)) * 2 + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        mask = cv2.dilate(mask, kernel) if rng.random() < 0.5 else cv2.erode(mask, kernel)
    if how.photometric:
        photo = _relight(photo, rng)
    return (
        photo.astype(np.uint8),
        drawing.astype(np.uint8),
        mask.astype(np.uint8),
        landmarks.astype(np.float32),
    )


def _relight(photo: Image, rng: np.random.Generator) -> Image:
    """Another light, camera and compression; the face stays."""
    values: Floats = photo.astype(np.float32) / np.float32(WHITE)
    if rng.random() < 0.7:
        values = values ** np.float32(np.exp(rng.uniform(-0.35, 0.35)))
        values = (values - 0.5) * np.float32(rng.uniform(0.8, 1.15)) + 0.5
    if rng.random() < 0.4:
        values = values * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.15:
        values = np.repeat(values.mean(axis=2, keepdims=True, dtype=np.float32), 3, axis=2)
    if rng.random() < 0.3:
        sigma = float(rng.uniform(0.4, 1.2))
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
    if rng.random() < 0.3:
        noise = rng.standard_normal(values.shape, dtype=np.float32)
        values = values + np.float32(rng.uniform(0.005, 0.025)) * noise
    varied: Image = np.clip(values * WHITE + 0.5, 0, WHITE).astype(np.uint8)
    if rng.random() < 0.3:
        _, encoded = cv2.imencode(".jpg", varied, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])
        varied = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), np.uint8)
    return varied


def _read(path: Path, flags: int) -> Image:
    image = cv2.imread(str(path), flags)
    if image is None or image.shape[:2] != (SIZE, SIZE):
        raise ValueError(f"{path} is no readable picture of {SIZE} x {SIZE}: prepare the data set again")
    return np.asarray(image, np.uint8)
