"""Augmentation: how training pairs are varied (sec. 6), and what more makes a generator robust."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from engines.portrait import SIZE, WHITE, Image, Landmarks

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """How training pairs are varied.

    Rotation and scale are the paper's (sec. 6), flips are in the authors' released program only, the rest is for
    robustness.

    Attributes:
        rotation: degrees, to either side.
        scale: largest factor; the smallest is 1.
        flip: whether half of the pairs are mirrored; eyes and mouth corners then change their names.
        shift: pixels, in any direction; alignment is never exact.
        landmark_jitter: pixels, of each landmark by itself.
        mask_jitter: pixels by which the person mask grows or shrinks.
        photometric: whether light, colour, sharpness, resolution and JPEG quality vary, and shadows fall on the face.
        crop: share of the pairs whose photo ends inside the portrait: at a straight edge, as where a photo was cut, or
            at a circle, as avatars do. Photo and drawing are white beyond it, and the mask is 0.
    """

    rotation: float = 10.0
    scale: float = 1.1
    flip: bool = True
    shift: float = 6.0
    landmark_jitter: float = 1.5
    mask_jitter: int = 3
    photometric: bool = True
    crop: float = 0.12

    @classmethod
    def paper(cls) -> Self:
        """The paper's rotation and scale, and the flips of the authors' program, nothing else."""
        return cls(shift=0.0, landmark_jitter=0.0, mask_jitter=0, photometric=False, crop=0.0)


def vary(
    photo: Image,
    drawing: Image,
    mask: Image,
    landmarks: Landmarks,
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[Image, Image, Image, Landmarks]:
    """Moves photo, drawing, mask and landmarks alike, and alters the photo alone.

    Args:
        photo: uint8 [512, 512, 3], RGB.
        drawing: uint8 [512, 512], 255 white.
        mask: uint8 [512, 512], 255 on the person.
        landmarks: float32 [5, 2], pixels.
        how: how far each thing may vary.
        rng: random generator; the same gives the same pair.
    """
    flip = how.flip and rng.random() < 0.5
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
        photo = relight(photo, rng)
    if how.crop and rng.random() < how.crop:
        outside = _beyond_the_photo(landmarks, rng)
        photo, drawing, mask = photo.copy(), drawing.copy(), mask.copy()
        photo[outside], drawing[outside], mask[outside] = WHITE, WHITE, 0
    return (
        photo.astype(np.uint8),
        drawing.astype(np.uint8),
        mask.astype(np.uint8),
        landmarks.astype(np.float32),
    )


def relight(photo: Image, rng: np.random.Generator) -> Image:
    """Another light, camera and compression for a photo or a part of one, uint8 [H, W, 3] RGB; the face stays."""
    height, width = photo.shape[:2]
    if rng.random() < 0.15:
        photo = np.asarray(cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    values = np.asarray(cv2.LUT(photo, _tone_curves(rng)), np.float32)
    if rng.random() < 0.3:
        values *= _light_from_one_side(height, width, rng)
    if rng.random() < 0.3:
        values *= _cast_shadow(height, width, rng)
    if rng.random() < 0.25:
        factor = rng.uniform(1.5, 4)
        values = cv2.resize(values, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
        values = np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    elif rng.random() < 0.3:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.4, 1.2))), np.float32)
    if rng.random() < 0.3:
        grain = rng.standard_normal((height, width, 1), dtype=np.float32)
        values += np.float32(rng.uniform(0.005, 0.03) * WHITE) * grain
    varied: Image = np.clip(values + 0.5, 0, WHITE).astype(np.uint8)
    if rng.random() < 0.3:
        _, encoded = cv2.imencode(".jpg", varied, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        varied = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), np.uint8)
    return varied


def _tone_curves(rng: np.random.Generator) -> Floats:
    """Exposure, contrast and colour cast as what each grey level of each channel becomes: [256, 1, 3], 0 to 255."""
    levels = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[:, None], 3, axis=1)
    if rng.random() < 0.7:
        levels = levels ** np.float32(np.exp(rng.uniform(-0.45, 0.45)))
        levels = (levels - 0.5) * np.float32(rng.uniform(0.75, 1.2)) + 0.5
    if rng.random() < 0.5:
        # Lamps and old prints: often slight, now and then strong.
        strength = 0.35 if rng.random() < 0.25 else 0.15
        levels = levels * np.exp(rng.uniform(-strength, strength, 3)).astype(np.float32)
    return np.asarray(levels * WHITE, np.float32).reshape(256, 1, 3)


def _light_from_one_side(height: int, width: int, rng: np.random.Generator) -> Floats:
    """Factors [H, W, 1] that go from light to dark across the face."""
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(60, 220)
    middle = rng.uniform(0.35, 0.65, 2) * (width, height)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    distance = np.cos(angle) * (x - middle[0])[None] + np.sin(angle) * (y - middle[1])[:, None]
    ramp = np.tanh(distance.astype(np.float32) / np.float32(reach))
    dark, light = rng.uniform(0.35, 0.8), rng.uniform(1.0, 1.25)
    return np.asarray((light + dark) / 2 + (light - dark) / 2 * ramp, np.float32)[..., None]


def _cast_shadow(height: int, width: int, rng: np.random.Generator) -> Floats:
    """Factors [H, W, 1] of a shadow with an edge: of a hat, a nose, a wall, or of leaves.

    The zero crossings of a field of low frequency bound it: one wave for a large shadow, several for dappled light.
    """
    cells = int(rng.integers(2, 4)) if rng.random() < 0.6 else int(rng.integers(4, 9))
    field = cv2.resize(
        rng.standard_normal((cells, cells)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    field -= np.float32(np.quantile(field, rng.uniform(0.2, 0.7)))
    softness = np.float32(rng.uniform(2, 12) * cells / max(height, width))  # the edge is 2 to 12 pixels wide
    lit = 1 / (1 + np.exp(-np.clip(field / softness, -30, 30)))
    shade = np.float32(rng.uniform(0.35, 0.75))
    return np.asarray(shade + (np.float32(rng.uniform(1.0, 1.15)) - shade) * lit, np.float32)[..., None]


def _beyond_the_photo(landmarks: Landmarks, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """[512, 512]: what lies beyond a straight edge, or a circle, that leaves the landmarks some room."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    middle = landmarks.mean(axis=0)
    if rng.random() < 0.4:
        centre = middle + rng.uniform(-20, 20, 2)
        return np.asarray(np.hypot(x - centre[0], y - centre[1]) > rng.uniform(180, 250))
    angle = rng.uniform(0, 2 * np.pi)
    towards = np.array([np.cos(angle), np.sin(angle)])
    furthest = float(((landmarks - middle) @ towards).max())
    along = (x - middle[0]) * towards[0] + (y - middle[1]) * towards[1]
    return np.asarray(along > furthest + rng.uniform(25, 120))
