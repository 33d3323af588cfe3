"""Warnings about a face: what lets its drawing come out worse, from what is measured on the way to its portrait."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from apdraw_cli.faces.align import Transform, apply, similarity
from apdraw_cli.faces.detect import Face
from engines.portrait import TEMPLATE, Image, Landmarks, Portrait

SMALL_FACE: Final = 60.0
"""A face whose box is narrower, in pixels of the photo, has no more detail than its drawing has lines."""

LEAST_SCORE: Final = 0.9
"""A face with a lower score is told of: the lowest of 110 portraits is 0.995."""

LEAST_SHARPNESS: Final = 0.18
"""See `sharpness`: 0.29 at least in 110 portraits, and less than this once they are blurred by 5 pixels (sigma)."""

MOST_ROLL: Final = 45.0
"""Degrees by which a face is turned at most to count as upright."""

USUAL_ROLL: Final = 30.0
USUAL_MISFIT: Final = 0.12
USUAL_SCORE: Final = 0.998
"""A face beyond one of these is looked at more closely by the mesh network, which takes as long as detection. Faces on
their head whose mouth was taken for eyes are beyond; so are about half of the upright ones."""

INNER_FACE: Final = (slice(180, 400), slice(110, 402))
"""Rows and columns of an aligned portrait from the brows to the chin."""

FACE_OVAL: Final = ((256.0, 270.0), (125.0, 180.0))
"""Centre (x, y) and half axes of the face, from forehead to chin, in pixels of an aligned portrait."""

MOST_CUT: Final = 0.02
"""Share of the face's oval that may lie outside the photo without a word."""


OVAL_GRID: Final = 25


@dataclass(frozen=True)
class PhotoWarning:
    """Why a drawing should be looked at.

    Attributes:
        code: a short word for scripts: `small_face`, `blurred`, `cut_face`, `low_score`, `doubtful_face` or
            `too_few_faces`.
        message: one line for people.
    """

    code: str
    message: str


DOUBTFUL: Final = PhotoWarning("doubtful_face", "it may be no face, or one seen from the side")


def warnings_about(face: Face, transform: Transform, portrait: Portrait, photo: tuple[int, ...]) -> list[PhotoWarning]:
    """What is to be told of a face that is taken for one; whether it is one is asked by `is_suspect`.

    Args:
        face: in pixels of the photo.
        transform: from those to pixels of the portrait.
        portrait: its aligned portrait.
        photo: shape of the photo, [H, W, 3].
    """
    found = []
    if face.size < SMALL_FACE:
        found.append(PhotoWarning("small_face", f"the face is small: {face.size:.0f} pixels"))
    elif sharpness(portrait.photo) < LEAST_SHARPNESS:  # a small one is blurred by being enlarged
        found.append(PhotoWarning("blurred", "the face is blurred"))
    cut = cut_share(photo, transform)
    if cut > MOST_CUT:
        found.append(PhotoWarning("cut_face", f"the photo ends within the face: {cut:.0%} of it are missing"))
    if face.score < LEAST_SCORE:
        found.append(PhotoWarning("low_score", f"it may be no face: the detector is sure to {face.score:.0%}"))
    return found


def too_few_faces(missing: Sequence[int], there: int) -> PhotoWarning:
    """That a photo has no faces of some numbers that were asked for, but only `there`."""
    named = ", ".join(map(str, missing))
    counted = f"there {'is' if there == 1 else 'are'} {there}, counted from left to right"
    return PhotoWarning("too_few_faces", f"the photo has no face {named}: {counted}")


def is_suspect(face: Face) -> bool:
    """Whether a face may be none, or lie otherwise than its landmarks say; told quickly."""
    unusual = abs(roll(face.landmarks)) > USUAL_ROLL or misfit(face.landmarks) > USUAL_MISFIT
    return unusual or face.score < USUAL_SCORE


def roll(landmarks: Landmarks) -> float:
    """By how many degrees a face is turned, -180 to 180; 0 upright, 90 if its crown points to the left."""
    transform = similarity(landmarks)
    return float(np.degrees(np.arctan2(transform[1, 0], transform[0, 0])))


def misfit(landmarks: Landmarks) -> float:
    """How badly landmarks fit the template: the root of their mean squared distance, in eye distances."""
    distances = np.linalg.norm(apply(similarity(landmarks), landmarks) - TEMPLATE, axis=1)
    return float(np.sqrt(np.mean(distances**2)) / (TEMPLATE[1, 0] - TEMPLATE[0, 0]))


def sharpness(portrait: Image) -> float:
    """How much fine detail a face has for its coarse detail: 0 none, 0.3 to 0.6 in sharp photos.

    The ratio of contrast between 1 and 3 pixels (sigma) to that between 3 and 12: it depends on neither light nor
    skin.
    """
    import cv2

    rows, columns = INNER_FACE
    grey = cv2.cvtColor(portrait[rows, columns], cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, medium = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1, 3))
    reduced = cv2.resize(medium, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(reduced, (0, 0), 12 / 4)
    return float((fine - medium).std() / max(float((reduced - coarse).std()), 1e-3))


def cut_share(photo: tuple[int, ...], transform: Transform) -> float:
    """Share of the oval of a face that lies outside its photo.

    Args:
        photo: shape of the photo, [H, W, ...].
        transform: from its pixels to those of the aligned portrait.
    """
    oval = _oval_points()
    to_photo = np.linalg.inv(np.vstack([transform, (0, 0, 1)]))[:2]
    x, y = apply(to_photo, oval).T
    height, width = photo[:2]
    return float(np.mean((x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)))


@lru_cache(maxsize=1)
def _oval_points() -> Landmarks:
    """Points all over the face's oval, float32 [N, 2]."""
    (x, y), (half_width, half_height) = FACE_OVAL
    across, down = np.meshgrid(np.linspace(-1, 1, OVAL_GRID), np.linspace(-1, 1, OVAL_GRID))
    inside = across**2 + down**2 <= 1
    return np.stack([x + half_width * across[inside], y + half_height * down[inside]], axis=1).astype(np.float32)
