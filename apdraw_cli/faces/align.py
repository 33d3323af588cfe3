"""Alignment: a similarity transform that brings a face's five landmarks onto the template (sec. 6 of the paper)."""

from typing import Final

import numpy as np
import numpy.typing as npt

from apdraw_cli.faces.reduce import halved
from engines.portrait import SIZE, TEMPLATE, WHITE, Image, Landmarks

Transform = npt.NDArray[np.float64]
"""float64 [2, 3]: photo pixels (x, y, 1) to aligned pixels (x, y)."""


IDENTITY: Final[Transform] = np.eye(2, 3)


def similarity(landmarks: Landmarks, template: Landmarks = TEMPLATE) -> Transform:
    """The rotation, scale and shift (no shear, no mirroring) with the least squared error from landmarks to template.

    Args:
        landmarks: [5, 2] photo pixels.
        template: [5, 2] aligned pixels.

    Raises:
        ValueError: all landmarks lie on one point.
    """
    # In complex numbers a similarity is w = a z + b, and the best a, b are those of a linear regression.
    z = landmarks.astype(np.float64) @ np.array([1, 1j])
    w = template.astype(np.float64) @ np.array([1, 1j])
    spread = float(np.sum(np.abs(z - z.mean()) ** 2))
    if spread == 0:
        raise ValueError("the five landmarks lie on one point")
    a = np.sum((w - w.mean()) * np.conj(z - z.mean())) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def apply(transform: Transform, points: Landmarks) -> Landmarks:
    """Points [N, 2] moved by a transform."""
    return (points.astype(np.float64) @ transform[:, :2].T + transform[:, 2]).astype(np.float32)


def enlarged(transform: Transform, factor: float) -> Transform:
    """The transform to the same aligned pixels from a photo that is larger by a factor."""
    # Pixel centres, not pixel corners, coincide between two sizes of a photo.
    shift = 0.5 / factor - 0.5
    to_smaller = np.array([[1 / factor, 0, shift], [0, 1 / factor, shift], [0, 0, 1]])
    return np.asarray(transform @ to_smaller, np.float64)


def warp_photo(photo: Image, transform: Transform, *, replicate: bool = False) -> Image:
    """The aligned portrait, uint8 [512, 512, 3]; white where the photo does not reach.

    Args:
        photo: uint8 [H, W, 3].
        transform: photo to aligned pixels.
        replicate: go on with the photo's rim where the photo does not reach, instead of white.
    """
    import cv2

    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    photo, factor = halved(photo, scale)
    # Pixel centres of the halved photo, in the full one's coordinates.
    transform = transform @ np.array([[factor, 0, factor / 2 - 0.5], [0, factor, factor / 2 - 0.5], [0, 0, 1]])
    border = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
    # Cubic interpolation takes more than twice the time, for drawings that agree in 99.9 % of their black.
    aligned = cv2.warpAffine(
        photo, transform, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=(WHITE,) * 3
    )
    return np.asarray(aligned, np.uint8)


def warp_labels(labels: Image, transform: Transform, *, replicate: bool = False) -> Image:
    """A label map (uint8 [H, W]) in the aligned frame, uint8 [512, 512]; 0 (or the rim's) where the photo ends."""
    import cv2

    border = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
    aligned = cv2.warpAffine(labels, transform, (SIZE, SIZE), flags=cv2.INTER_NEAREST, borderMode=border)
    return np.asarray(aligned, np.uint8)


def inside_photo(shape: tuple[int, ...], transform: Transform) -> Image:
    """Where an aligned portrait comes from a photo of `shape` [H, W, ...]: uint8 [512, 512], 255 there, else 0."""
    return warp_labels(np.full(shape[:2], WHITE, np.uint8), transform)


def beyond_photo(size: tuple[int, int], transform: Transform) -> npt.NDArray[np.bool_]:
    """Which pixels of an aligned portrait lie beyond its photo: bool [512, 512].

    Args:
        size: width and height of the photo in pixels.
        transform: from those to pixels of the portrait.
    """
    turn, shift = np.linalg.inv(transform[:, :2]), transform[:, 2]
    places = np.arange(SIZE)
    beyond = np.zeros((SIZE, SIZE), np.bool_)
    for (along_x, along_y), length in zip(turn, size, strict=True):
        across, down = along_x * (places - shift[0]), along_y * (places - shift[1])
        # Nothing goes beyond where the corners do not, as in most photos.
        if across.min() + down.min() < -0.5:
            beyond |= across[None, :] + down[:, None] < -0.5
        if across.max() + down.max() > length - 0.5:
            beyond |= across[None, :] + down[:, None] > length - 0.5
    return beyond
