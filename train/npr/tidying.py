"""Tidied drawings: strokes joined along their flow, specks dropped, jaw and outline drawn as one line each.

Without torch, which each of the processes that tidy would have to load.
"""

from pathlib import Path

import cv2
import numpy as np

from engines.portrait import SIZE, WHITE, Image, Landmarks
from train.npr.edge_flow import Plane, smooth_along, soften, tangent_flow
from train.npr.face_parsing import ellipses, find_parts
from train.npr.line_map import line_map
from train.npr.parameters import NprParameters
from train.npr.strokes import Points, drop_specks, enlarged, lower_rim, person_outline, tapered

JAW_REACH = 10
"""How far from the rim of the face oval the jaw line is looked for, pixels."""

CLOTHES_SPECK = 70
"""Area of the smallest spot that is kept in clothes, black or white: cloth has more of them than a drawing bears."""


def tidy(photo: Image, labels: Image, landmarks: Landmarks, drawing: Image) -> Image:
    """A drawing with its strokes joined, its specks dropped, and a whole jaw line and outline.

    Args:
        photo: uint8 [512, 512, 3], RGB.
        labels: uint8 [512, 512], 0 background, 1 person, 2 face oval.
        landmarks: float32 [5, 2], pixels.
        drawing: uint8 [512, 512], 0 black to 255 white, of that portrait.

    Returns:
        uint8 [512, 512], two tones with grey on the rims of strokes.
    """
    parts = find_parts(photo, labels, landmarks)
    person = (labels > 0).astype(np.float32)
    ink = (1 - drawing.astype(np.float32) / np.float32(WHITE)) * person
    ink = 1 - drop_specks(1 - drop_specks(ink, 8), 5)
    ink = drop_specks(joined_strokes(ink, ellipses(ink.shape, landmarks[:2], (26, 11), 2.5)), 14)
    calm = 1 - drop_specks(1 - drop_specks(ink, CLOTHES_SPECK), CLOTHES_SPECK)
    ink += parts.clothes * (calm - ink)

    start = float(landmarks[2, 1]) + 25
    jaw = followed_jaw(lower_rim(labels, 2 * start)[::2] / np.float32(2), ink)
    contour = 2 * NprParameters.contour
    line = tapered(2 * jaw + 0.5, 2 * start, contour)
    bearded = np.maximum(enlarged(parts.beard), np.clip(8 * enlarged(soften(ink, 9.0)) - 2.9, 0, 1))
    ink = np.clip(4 * enlarged(soften(ink, 0.5)) - 1.5, 0, 1)
    if len(jaw):
        ink = _without_dashes(ink, tapered(2 * jaw + 0.5, -SIZE, 26) > 0.5)
        bare = enlarged(parts.skin) * (1 - bearded)
        ink *= 1 - tapered(2 * jaw + 0.5, 2 * start, 22) * np.clip(2 * bare - 0.5, 0, 1)
    ink = np.maximum(ink, line * np.clip(1.3 - 1.6 * bearded, 0, 1))
    ink = np.maximum(ink, person_outline(parts, ink, 0.3, contour))
    ink = drop_specks(1 - drop_specks(1 - ink, 30), 56)
    small = cv2.resize(ink, (SIZE, SIZE), interpolation=cv2.INTER_AREA) * person  # a white page, to the outline
    return np.asarray(np.rint((1 - small) * WHITE), np.uint8)


def write_tidied(
    drawing_file: Path, lines_file: Path, photo: Image, labels: Image, landmarks: Landmarks, drawing: Image
) -> None:
    """Writes a drawing, tidied, and its line map; see `tidy`. In a process of its own: OpenCV gets one thread."""
    cv2.setNumThreads(1)
    tidied = tidy(photo, labels, landmarks, drawing)
    lines = line_map(tidied, NprParameters.line_width, NprParameters.line_length)
    for file, picture in ((drawing_file, tidied), (lines_file, lines)):
        cv2.imwrite(str(file), picture)


def joined_strokes(ink: Plane, kept: Plane) -> Plane:
    """Ink smoothed along its own flow and made two-toned again, twice: dashes join, ragged rims straighten.

    The threshold gives way to what is rarer nearby, so that thin strokes of either tone stay.

    Args:
        ink: 0 to 1.
        kept: 0 to 1; where it is 1 the ink stays as it is: what is small and round has no flow.
    """
    joined = ink
    for _ in range(2):
        along = smooth_along(joined, tangent_flow(soften(joined, 0.8), 2.0), 3.5)
        threshold = 0.35 + 0.3 * soften(joined, 5.0)
        joined = kept * ink + (1 - kept) * np.clip(3 * (along - threshold) + 0.5, 0, 1)
    return np.asarray(joined, np.float32)


def followed_jaw(rim: Points, ink: Plane) -> Points:
    """The rim of the face moved to where a drawing has ink along it: a path of least cost, smoothed.

    Args:
        rim: [N, 2], pixels, from one side of the face to the other.
        ink: [512, 512], 0 to 1.
    """
    if len(rim) < 20:
        return np.empty((0, 2), np.float32)
    along = _smooth(np.gradient(rim, axis=0), 5.0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    offsets = np.arange(-JAW_REACH, JAW_REACH + 0.1, 0.5, dtype=np.float32)
    x, y = (rim[:, i : i + 1] + offsets * across[:, i : i + 1] for i in (0, 1))
    found = cv2.remap(soften(ink, 1.2), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    cost = 0.0012 * np.abs(offsets) ** 1.5 - cv2.GaussianBlur(found, (0, 0), sigmaX=0.6, sigmaY=9)
    path = offsets[_cheapest(cost, 0.2)]
    return np.asarray(rim + _smooth(path[:, None], 14.0) * across, np.float32)


def _cheapest(cost: Plane, bend: float) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """For each row the column of the cheapest way down, which moves by a column at most, at the price of `bend`."""
    total = cost[0]
    moves = []
    for row in cost[1:]:
        ways = np.stack([np.r_[np.inf, total[:-1] + bend], total, np.r_[total[1:] + bend, np.inf]])
        moves.append(ways.argmin(axis=0) - 1)
        total = ways.min(axis=0) + row
    columns = [int(total.argmin())]
    for move in reversed(moves):
        columns.append(columns[-1] + int(move[columns[-1]]))
    return np.array(columns[::-1])


def _without_dashes(ink: Plane, near: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Plane:
    """Ink without the small strokes that lie mostly within `near`: pieces of a line that is drawn whole there."""
    count, components, stats, _ = cv2.connectedComponentsWithStats((ink > 0.5).astype(np.uint8), connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA]
    gone = (np.bincount(components.ravel(), near.ravel(), count) > 0.75 * area) & (area < 900)
    gone[0] = False
    return np.asarray(np.where(gone[components], 0, ink), np.float32)


def _smooth(values: Plane, sigma: float) -> Plane:
    """Gaussian mean down each column of [N, C]."""
    columns = [cv2.GaussianBlur(column[:, None], (0, 0), sigmaX=0.1, sigmaY=sigma) for column in values.T]
    return np.concatenate([column.reshape(-1, 1) for column in columns], axis=1).astype(np.float32)
