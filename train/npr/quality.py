"""How far a drawing that a program made can serve as a teacher, by simple checks of its ink."""

from typing import Final

import cv2
import numpy as np

from engines.portrait import WHITE, Image, Landmarks
from train.npr.face_parsing import FACE, PERSON

EYE_WINDOW: Final = (68, 32)
"""Width and height of what `eye_ink` looks at: brows stay outside, an eye's corners inside."""

BLACK: Final = 127
"""Grey levels up to which a pixel near an eye counts as ink."""


def quality(drawing: Image, labels: Image, landmarks: Landmarks) -> float:
    """How far a drawing can serve as a teacher: 0 (an eye is missing, the face is empty or black) to 1.

    The product of five checks, each 1 where nothing is wrong: ink on both eyes, ink on the face, ink on the person, few
    short strokes on the face, none on the background.

    Args:
        drawing: uint8 [512, 512], 0 black to 255 white.
        labels: uint8 [512, 512], 0 background, 1 person, 2 face oval.
        landmarks: float32 [5, 2], pixels.
    """
    ink = drawing < WHITE // 2
    face = cv2.erode((labels == FACE).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    beyond = cv2.dilate((labels >= PERSON).astype(np.uint8), np.ones((13, 13), np.uint8)) == 0
    if not face.any():
        return 0.0
    score = 1.0
    for share in eye_ink(drawing, landmarks):
        score *= _between(share, 0.03, 0.08, 0.60, 0.80)
    score *= _between(float(ink[face].mean()), 0.015, 0.04, 0.35, 0.55)
    score *= _between(float(ink[labels >= PERSON].mean()), 0.03, 0.06, 0.75, 0.90)
    _, _, stats, _ = cv2.connectedComponentsWithStats((ink & face).astype(np.uint8), connectivity=8)
    score *= _between(float((stats[1:, cv2.CC_STAT_AREA] < 40).sum()), -2, -1, 30, 80)
    return score * (_between(float(ink[beyond].mean()), -2, -1, 0.002, 0.02) if beyond.any() else 1.0)


def eye_ink(drawing: Image, landmarks: Landmarks) -> tuple[float, float]:
    """The share of black pixels around each eye, 68 x 32 pixels, 0 to 1; about 0.03 or less is no eye.

    Args:
        drawing: uint8 [512, 512].
        landmarks: float32 [5, 2], pixels.
    """
    width, height = EYE_WINDOW
    shares = []
    for x, y in np.rint(landmarks[:2]).astype(int):
        rows = slice(max(y - height // 2, 0), max(y + height // 2, 0))
        eye = drawing[rows, max(x - width // 2, 0) : max(x + width // 2, 0)]
        shares.append(float(np.mean(eye <= BLACK)) if eye.size else 0.0)
    return shares[0], shares[1]


def _between(value: float, none: float, low: float, high: float, too_much: float) -> float:
    """1 from `low` to `high`, falling to 0 at `none` and `too_much`."""
    return float(np.interp(value, (none, low, high, too_much), (0, 1, 1, 0)))
