"""Strokes of even width along confident lines, the jaw line, the outline, and removal of specks.

Everything here is at twice the portrait's size, 1024 x 1024, so that lines have smooth rims once reduced.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from engines.portrait import SIZE, Image, Landmarks
from train.npr.edge_flow import Plane, confident, ridges, soften, weighted_mean
from train.npr.face_parsing import FACE, Mask, Parts

Points = npt.NDArray[np.float32]
"""float32 [N, 2]: x and y."""


class PenZone(NamedTuple):
    """Where lines are drawn, and which: `high` and `low` as in `confident`, `length` of the shortest in pixels."""

    where: Mask
    high: float
    low: float
    length: float


def pen_lines(strength: Plane, flow: Plane, zones: Sequence[PenZone], jaw: Plane, widths: tuple[float, float]) -> Plane:
    """Confident lines, drawn anew by a pen: ink 0 to 1.

    Args:
        strength: how strongly each pixel belongs to a dark stroke.
        flow: unit vectors along the strokes.
        zones: areas with the least strength and length of the lines drawn there.
        jaw: ink of the jaw line; nothing is drawn a second time beside it.
        widths: width of the weakest and of the strongest line, pixels.
    """
    lines = ridges(strength, flow)
    lines &= cv2.distanceTransform((jaw < 0.5).astype(np.uint8), cv2.DIST_L2, 3) > 14
    chosen = np.zeros_like(lines)
    for zone in zones:
        chosen |= confident(lines & zone.where, strength, zone.high, zone.low, zone.length)
    pressure = weighted_mean(strength, chosen.astype(np.float32), 3)
    return _stroked(chosen, np.interp(pressure, (0.02, 0.09), widths).astype(np.float32))


def jaw_line(labels: Image, landmarks: Landmarks, width: float) -> Plane:
    """The lower rim of the face oval, ink 0 to 1: filters miss it where chin and neck are alike.

    It runs from cheek to cheek without a gap and tapers off at the height of the nose tip.

    Args:
        labels: uint8 [512, 512], label map.
        landmarks: float32 [5, 2], pixels of the 512 x 512 portrait.
        width: pixels at twice the size.
    """
    start = 2 * float(landmarks[2, 1])
    return tapered(lower_rim(labels, start), start, width)


def lower_rim(labels: Image, start: float) -> Points:
    """The rim of the face oval below a height, from one side to the other; empty where there is no face.

    Args:
        labels: uint8 [512, 512], label map.
        start: the height, pixels at twice the size, as the points are.
    """
    contours, _ = cv2.findContours((labels == FACE).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.empty((0, 2), np.float32)
    rim = 2 * max(contours, key=len)[:, 0, :].astype(np.float32) + 0.5
    rim = np.stack([_smooth_closed(rim[:, 0], 6.0), _smooth_closed(rim[:, 1], 6.0)], axis=1)
    rim = np.roll(rim, -int(np.argmin(rim[:, 1])), axis=0)  # the gap lies at the top
    return np.asarray(rim[rim[:, 1] > start], np.float32)


def tapered(path: Points, start: float, width: float) -> Plane:
    """A line along a path, ink 0 to 1, thinner towards the height where it starts."""
    canvas = np.zeros((2 * SIZE, 2 * SIZE), np.uint8)
    if len(path) > 1:
        cv2.polylines(canvas, [np.rint(path).astype(np.int32).reshape(-1, 1, 2)], False, 255, 1)
    y = np.arange(2 * SIZE, dtype=np.float32)[:, None]
    taper = np.clip(0.4 + (y - start) / 60, 0.4, 1).astype(np.float32)
    return _stroked(canvas > 0, width * taper)


def person_outline(parts: Parts, ink: Plane, black_share: float, width: float) -> Plane:
    """One line between person and background; hair has it only where it is light and left white."""
    person = (enlarged(soften(parts.person, 2.0)) > 0.5).astype(np.uint8)
    rim = (person - cv2.erode(person, np.ones((3, 3), np.uint8))) > 0
    grown = cv2.dilate(np.stack([parts.hair, parts.skin], axis=-1), np.ones((9, 9), np.uint8))
    hair, skin = enlarged(grown[..., 0]), enlarged(grown[..., 1])
    empty = (soften(ink, 10.0) < 0.08) & (black_share < 0.4)
    return _stroked(rim & ((hair < 0.3) | (skin > 0.6) | empty), np.float32(width))


def drop_specks(ink: Plane, area: float) -> Plane:
    """Ink without spots smaller than `area` pixels."""
    _, components, stats, _ = cv2.connectedComponentsWithStats((ink > 0.5).astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < area
    small[0] = False
    return np.asarray(np.where(small[components], 0, ink), np.float32)


def enlarged(plane: Plane) -> Plane:
    """A plane at twice its size."""
    size = (2 * plane.shape[1], 2 * plane.shape[0])
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_CUBIC), np.float32)


def _stroked(lines: Mask, width: Plane | np.float32) -> Plane:
    if not lines.any():
        return np.zeros(lines.shape, np.float32)
    away = cv2.distanceTransform((~lines).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.clip(width / 2 + 0.5 - away, 0, 1), np.float32)


def _smooth_closed(values: Plane, sigma: float) -> Plane:
    reach = int(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, reach, mode="wrap")
    return np.convolve(padded, weights / weights.sum(), mode="valid").astype(np.float32)
