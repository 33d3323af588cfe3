"""Registration: where an artist's drawing lies in the aligned frame of its photo.

Lines and tones of a drawing are not those of the photo, but they run the same way. So both are compared by local
contrast sorted by direction: four planes, each for edges that run one way, evened out so that a faint edge counts
nearly as much as a strong one. Their correlation around the face is the agreement, -1 to 1. Of 23 portraits, drawings
that had been moved, turned, scaled and cropped agreed with their own photo by 0.53 to 0.80, another's by 0.47 at most.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from apdraw_cli.faces.align import Transform, similarity, warp_photo
from apdraw_cli.faces.detect import Detector
from engines.portrait import SIZE, WHITE, Image

SAME_ASPECT: Final = 0.01
"""Aspects that differ by less are the same, rounded."""

CLEARLY_BETTER: Final = 0.08
"""So much more agreement is worth moving a drawing that could have stayed where its photo is."""

COMPARED_SIZE: Final = SIZE // 2
"""Side of the aligned frame in which photo and drawing are compared."""

DIRECTIONS: Final = 4

_PIXELS_IN_ROW: Final = 16

Planes = npt.NDArray[np.float32]
"""float32 [COMPARED_SIZE, COMPARED_SIZE, DIRECTIONS]."""


@dataclass(frozen=True)
class Registration:
    """Where a drawing belongs.

    Attributes:
        transform: drawing pixels to aligned pixels.
        agreement: with the photo, -1 to 1.
        moved: whether a search found it; else it fills the photo's frame or the aligned one.
    """

    transform: Transform
    agreement: float
    moved: bool


def register(
    drawing: Image, photo_size: tuple[int, int], portrait: Image, transform: Transform, detector: Detector
) -> Registration:
    """Finds the transform that brings a drawing into the aligned frame.

    A drawing of the photo's aspect is taken to show what the photo shows, at another scale perhaps, and a square one
    perhaps what the aligned portrait shows, unless it agrees clearly better elsewhere. Others may be crops or have
    margins: the search begins at these two frames, and at the face in the drawing if one is found.

    Args:
        drawing: uint8 [H, W, 3], RGB.
        photo_size: height and width of the photo.
        portrait: the aligned photo, uint8 [512, 512, 3], RGB, without a rim of its own.
        transform: photo to aligned pixels.
        detector: finds the face in the drawing.
    """
    seen = _weighted(_planes(_compared(portrait, np.eye(2, 3))))
    height, width = drawing.shape[:2]
    frame = _compose(transform, _scaling((height, width), photo_size))
    starts = [frame, _scaling((height, width), (SIZE, SIZE))]
    starts += [similarity(face.landmarks) for face in detector.detect(drawing)[:1]]
    near = (_improved(drawing, start, seen, 1.0) for start in starts)
    found, _ = max(near, key=lambda transform_and_agreement: transform_and_agreement[1])
    # Anew, since the directions of edges turn with the drawing.
    found, agreement = _improved(drawing, found, seen, 0.5)
    exact = [
        (_agreement(seen, _weighted(_planes(_compared(drawing, start)))), i)
        for i, (start, size) in enumerate(zip(starts, (photo_size, (SIZE, SIZE)), strict=False))
        if abs(width * size[0] / (height * size[1]) - 1) < SAME_ASPECT
    ]
    still, which = max(exact, default=(-1.0, 0))
    if still > agreement - CLEARLY_BETTER:
        return Registration(starts[which], still, moved=False)
    return Registration(found, agreement, moved=True)


def warp_drawing(drawing: Image, transform: Transform) -> Image:
    """The drawing (uint8 [H, W, 3] RGB) in the aligned frame: uint8 [512, 512], white where it does not reach.

    With more care than a photo: one that shrinks is averaged first, for its thin lines to keep their weight.
    """
    import cv2

    grey = cv2.cvtColor(drawing, cv2.COLOR_RGB2GRAY)
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < 0.75:
        height, width = (max(1, round(side * scale)) for side in grey.shape)
        fx, fy = grey.shape[1] / width, grey.shape[0] / height
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        # Pixel centres of the reduced drawing, in the full one's coordinates.
        transform = transform @ np.array([[fx, 0, 0.5 * fx - 0.5], [0, fy, 0.5 * fy - 0.5], [0, 0, 1]])
    aligned = cv2.warpAffine(grey, transform, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderValue=WHITE)
    return np.asarray(aligned, np.uint8)


def _improved(drawing: Image, start: Transform, seen: Planes, reach: float) -> tuple[Transform, float]:
    """The best transform near a start, and its agreement: a pattern search over shift, scale and rotation.

    Args:
        drawing: uint8 [H, W, 3].
        start: drawing to aligned pixels.
        seen: the photo's weighted planes.
        reach: first steps of the search: 1 for 8 pixels of the compared frame and about 3.5 degrees.
    """
    import cv2

    planes = _planes(_compared(drawing, start))

    def agreement(values: npt.NDArray[np.float64]) -> float:
        matrix = _similarity_about_middle(values)
        laid = cv2.warpAffine(planes, matrix, (COMPARED_SIZE, COMPARED_SIZE), flags=cv2.INTER_LINEAR)
        return _agreement(seen, _weighted(np.asarray(laid, np.float32)))

    at = np.zeros(4)
    best = agreement(at)
    steps = reach * np.array([8.0, 8.0, 0.06, 0.06])  # pixels, pixels, log scale, radians
    while steps[0] > 0.2 + 0.8 * (reach == 1):
        before = best
        for axis, sign in itertools.product(range(4), (1, -1)):
            tried = at.copy()
            tried[axis] += sign * steps[axis]
            found = agreement(tried)
            if found > best:
                at, best = tried, found
        if best == before:
            steps /= 2
    return _compose(_in_aligned_frame(_similarity_about_middle(at)), start), best


def _similarity_about_middle(values: npt.NDArray[np.float64]) -> Transform:
    dx, dy, log_scale, angle = values
    middle = (COMPARED_SIZE - 1) / 2
    a, b = np.exp(log_scale) * np.cos(angle), np.exp(log_scale) * np.sin(angle)
    return np.array([[a, -b, middle - a * middle + b * middle + dx], [b, a, middle - b * middle - a * middle + dy]])


def _compared(picture: Image, transform: Transform) -> npt.NDArray[np.float32]:
    """A picture [H, W, 3] as lightness in the compared frame, its rim continued so that it makes no edge."""
    import cv2

    aligned = warp_photo(picture, transform, replicate=True)
    grey = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (COMPARED_SIZE, COMPARED_SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _planes(grey: npt.NDArray[np.float32]) -> Planes:
    """Edges by direction, relative to the contrast around them."""
    import cv2

    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = np.hypot(dx, dy)
    # The constant keeps grain on flat ground from counting as edges.
    strength = np.minimum(strength / (cv2.GaussianBlur(strength, (0, 0), 12) + 4), 2)
    place = np.arctan2(dy, dx) % np.pi / np.pi * DIRECTIONS
    planes = []
    for direction in range(DIRECTIONS):
        away = np.abs((place - direction + DIRECTIONS / 2) % DIRECTIONS - DIRECTIONS / 2)
        planes.append(cv2.GaussianBlur(strength * np.clip(1 - away, 0, 1), (0, 0), 2))
    return np.stack(planes, axis=-1).astype(np.float32)


def _weighted(planes: Planes) -> Planes:
    """Planes freed of their means and weighted towards the face, flat and of length 1: their product correlates."""
    root, rows = _roots_of_face_weight()
    flat = planes.reshape(rows.shape) * rows
    means = root.T @ flat.reshape(-1, DIRECTIONS)
    flat -= rows * np.tile(means, _PIXELS_IN_ROW)
    flat /= max(float(np.linalg.norm(flat)), 1e-9)
    return flat.ravel()


def _agreement(a: Planes, b: Planes) -> float:
    """Correlation of two sets of weighted planes."""
    return float(a @ b)


@lru_cache(maxsize=1)
def _roots_of_face_weight() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Square roots [COMPARED_SIZE ** 2, 1] of weights that fall off from the face and add up to 1.

    Also each for all directions, in rows of `_PIXELS_IN_ROW` pixels, since numpy multiplies long rows faster.
    """
    y, x = np.mgrid[0:COMPARED_SIZE, 0:COMPARED_SIZE] / np.float32(COMPARED_SIZE)
    weight = np.exp(-0.5 * (((x - 0.5) / 0.234) ** 2 + ((y - 0.586) / 0.293) ** 2)).reshape(-1, 1)
    root = np.asarray(np.sqrt(weight / weight.sum()), np.float32)
    return root, np.repeat(root, DIRECTIONS, axis=1).reshape(-1, _PIXELS_IN_ROW * DIRECTIONS)


def _scaling(size: tuple[int, int], to: tuple[int, int]) -> Transform:
    """Brings a picture of `size` (height, width) to another size; the corners coincide, not the pixel centres."""
    fy, fx = to[0] / size[0], to[1] / size[1]
    return np.array([[fx, 0, 0.5 * fx - 0.5], [0, fy, 0.5 * fy - 0.5]])


def _in_aligned_frame(transform: Transform) -> Transform:
    """A transform of the compared frame's pixels as one of aligned pixels."""
    full, compared = (SIZE, SIZE), (COMPARED_SIZE, COMPARED_SIZE)
    return _compose(_compose(_scaling(compared, full), transform), _scaling(full, compared))


def _compose(second: Transform, first: Transform) -> Transform:
    whole: Any = np.vstack([second, [0, 0, 1]]) @ np.vstack([first, [0, 0, 1]])
    return np.asarray(whole[:2], np.float64)
