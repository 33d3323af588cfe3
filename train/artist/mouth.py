"""The mouth: its line or its opening with teeth told apart, corners as they are, and the outlines of the lips."""

from dataclasses import dataclass

import cv2
import numpy as np

from train.artist import mesh
from train.artist.canvas import Canvas, box_around, on_sheet, polygon_mask
from train.artist.curves import (
    Curve,
    Floats,
    resample,
    runs,
    sample,
    sample_on,
    smoothed,
    snap,
    spline,
    taper,
)
from train.artist.sitter import Cover, Sitter
from train.npr.edge_flow import Plane, soften
from train.npr.face_parsing import Mask

OPEN = 0.045
"""A mouth is open where the lips are farther apart, over its width."""
COLUMNS, ROWS = 160, 24
"""Of the mouth's opening unrolled."""
TEETH = slice(3, 17)
"""Rows of it that teeth fill."""
MOST_GAPS = 11


@dataclass(frozen=True)
class Mouth:
    """What was drawn.

    Attributes:
        is_open: whether an opening was drawn.
        gaps: lines between teeth.
        quality: how clearly the photo shows the line of the mouth, 0 to 1.
    """

    is_open: bool
    gaps: int
    quality: float


def draw_mouth(sitter: Sitter, cover: Cover, canvas: Canvas) -> Mouth:
    """Draws the mouth."""
    left, right = sitter.at(mesh.MOUTH_CORNERS)
    upper, lower = sitter.at(mesh.MOUTH_MIDDLE)
    is_open = bool(np.linalg.norm(upper - lower) > OPEN * np.linalg.norm(left - right))
    gaps = 0
    if is_open:
        gaps, strength = _draw_opening(sitter, canvas)
    else:
        strength = _draw_line(sitter, canvas)
    _draw_outlines(sitter, cover, canvas)
    return Mouth(is_open, gaps, float(np.clip(strength / 0.08, 0, 1)))


def _draw_line(sitter: Sitter, canvas: Canvas) -> float:
    guess = spline((sitter.at(mesh.MOUTH_TOP) + sitter.at(mesh.MOUTH_BOTTOM)) / 2)
    curve, strength = snap(sitter.tone, guess, 7, sigma=2, prior=0.05, smooth=4)
    at = np.linspace(0, 1, len(curve))
    width = np.clip(1.4 + 7 * np.maximum(smoothed(strength, 5), 0), 1.5, 2.8)
    width *= np.interp(at, [0, 0.06, 0.2, 0.5, 0.8, 0.94, 1], [1.1, 1.4, 1, 0.9, 1, 1.4, 1.1])
    first, last = _onwards(curve[::-1], 5)[::-1], _onwards(curve, 5)
    line = np.vstack([first, curve, last])
    canvas.stroke(line, np.r_[np.linspace(0.3, width[0], 5), width, np.linspace(width[-1], 0.3, 5)])
    _fill_corners(sitter, (curve[0], curve[-1]), canvas)
    return float(np.median(strength))


def _onwards(curve: Curve, length: float) -> Curve:
    """Five places that go on from a curve's last one."""
    heading = curve[-1] - curve[-5]
    heading = heading / (np.linalg.norm(heading) + 1e-9)
    return np.asarray(curve[-1] + heading * np.linspace(0.8, length, 5)[:, None], np.float64)


def _fill_corners(sitter: Sitter, corners: tuple[Curve, Curve], canvas: Canvas) -> None:
    """The dark pits of the corners as the photo has them: they say whether a mouth smiles."""
    reach = 0.06 * sitter.eye_distance
    for corner in corners:
        box = box_around([corner], reach)
        y, x = np.mgrid[box.top : box.bottom, box.left : box.right]
        out = np.hypot(x - corner[0], 1.6 * (y - corner[1])) / reach
        darkness = soften(np.ascontiguousarray(sitter.darkness[box.window]), 1.0)
        peak, usual = (float(value) for value in np.percentile(darkness, (97, 50)))
        if peak > 0.4 and peak - usual > 0.2:
            # The farther from the corner, the darker it must be: the pit runs out in a point.
            level = darkness - usual - (peak - usual) * (0.6 + 0.5 * out)
            canvas.fill(level.astype(np.float32), box)


def _draw_opening(sitter: Sitter, canvas: Canvas) -> tuple[int, float]:
    upper, upper_strength = snap(sitter.tone, spline(sitter.at(mesh.MOUTH_TOP)), 5, prior=0.06, stiff=0.03, smooth=4)
    lower, lower_strength = snap(sitter.tone, spline(sitter.at(mesh.MOUTH_BOTTOM)), 5, prior=0.06, stiff=0.03, smooth=4)
    for end in (0, -1):
        middle = (upper[end] + lower[end]) / 2
        for curve in (upper, lower):
            pull = np.exp(-np.arange(len(curve)) / 5)[:, None]
            curve += (middle - curve[end]) * (pull if end == 0 else pull[::-1])
    gaps = _fill_opening(sitter, upper, lower, canvas)
    for curve, strength, most in ((upper, upper_strength, 1.6), (lower, lower_strength, 1.3)):
        swell = np.interp(np.linspace(0, 1, len(curve)), [0, 0.1, 0.5, 0.9, 1], [1.3, 1.25, 1, 1.25, 1.3])
        canvas.stroke(curve, np.clip(0.75 + 6 * np.maximum(smoothed(strength, 5), 0), 0.95, most) * swell)
    for corner, beside in ((upper[0], upper[5]), (upper[-1], upper[-6])):
        heading = (corner - beside) / (np.linalg.norm(corner - beside) + 1e-9)
        canvas.stroke(corner + np.linspace(-4, 6, 7)[:, None] * heading, 1.8 * taper(7, 0.2, 0.9, 0.2))
    _fill_corners(sitter, (upper[0], upper[-1]), canvas)
    return gaps, float(max(np.median(upper_strength), np.median(lower_strength)))


def _fill_opening(sitter: Sitter, upper: Curve, lower: Curve, canvas: Canvas) -> int:
    """Fills what is dark between the lips, and draws the gaps between teeth; returns how many."""
    above, below = resample(upper, 0.5), resample(lower, 0.5)
    above = above[np.linspace(0, len(above) - 1, COLUMNS).astype(int)]
    below = below[np.linspace(0, len(below) - 1, COLUMNS).astype(int)]
    height = np.linalg.norm(above - below, axis=1)
    down = np.linspace(0, 1, ROWS)[None, :, None]
    unrolled = above[:, None] * (1 - down) + below[:, None] * down
    light = sample(sitter.light, unrolled[..., 0], unrolled[..., 1]).astype(np.float64)
    wide = height > 4
    bright = float(np.percentile(light[wide], 85)) if wide.any() else 0.5
    dark = float(np.percentile(sitter.light[polygon_mask(sitter.at(mesh.LIPS))], 4))
    level = dark + 0.36 * (bright - dark)
    box = box_around(np.vstack([upper, lower]), 6)
    cavity = Canvas()
    cavity.polygon(np.vstack([upper, lower[::-1]]))
    shade = on_sheet(level - soften(np.ascontiguousarray(sitter.light[box.window]), 1.8)) > 0
    black = (shade & (cavity.ink[box.sheet_window] > 0)).astype(np.uint8)
    black = cv2.morphologyEx(black, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13)))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(black)
    canvas.ink[box.sheet_window][_belongs(stats, black.shape[1])[parts]] = 255
    return _draw_gaps(light, light > level, height, above, below, canvas)


def _belongs(stats: Floats, width: int) -> Mask:
    """Which dark parts are drawn: those at a corner or along much of the mouth, not specks between teeth."""
    left, across = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_WIDTH]
    at_corner = (left < 0.22 * width) | (left + across > 0.78 * width)
    drawn = (stats[:, cv2.CC_STAT_AREA] > 500) & (at_corner | (across > 0.4 * width))
    drawn[0] = False
    return np.asarray(drawn)


def _draw_gaps(
    light: Floats,
    teeth: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    height: Floats,
    above: Curve,
    below: Curve,
    canvas: Canvas,
) -> int:
    """Lines between teeth: minima of the teeth's lightness along the mouth."""
    weight = teeth[:, TEETH].astype(np.float64)
    profile = smoothed((light[:, TEETH] * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1), 1)
    dip = smoothed(profile, 5) - profile
    share = weight.mean(axis=1)
    found = [
        column
        for column in range(4, COLUMNS - 4)
        if dip[column] == dip[column - 3 : column + 4].max()
        and dip[column] > 0.010
        and share[column] > 0.45
        and height[column] > 6
    ]
    kept: list[int] = []
    for column in sorted(found, key=lambda column: -dip[column]):
        if len(kept) < MOST_GAPS and all(abs(column - other) >= 7 for other in kept):
            kept.append(column)
    for column in kept:
        end = min(max(float(np.nonzero(teeth[column])[0].max()) / (ROWS - 1), 0.4), 0.92)
        down = np.linspace(0.06, end, 10)[:, None]
        gap = above[column] * (1 - down) + below[column] * down
        canvas.stroke(gap, (0.55 + 6 * min(float(dip[column]), 0.05)) * taper(10, 0.2, 0.7, 0.25))
    return len(kept)


def _draw_outlines(sitter: Sitter, cover: Cover, canvas: Canvas) -> None:
    red = sitter.lab[..., 1].astype(np.float32) / 255
    usual = float(np.median(red[sitter.face])) if sitter.face.any() else float(np.median(red))
    box = box_around(sitter.at(mesh.LIPS), 30)
    lips: Plane = np.ascontiguousarray((sitter.tone - 3 * (red - usual))[box.window], np.float32)  # red counts as dark
    for group, first in ((mesh.LIP_TOP, 0.05), (mesh.LIP_BOTTOM, 0.12)):
        guess = spline(sitter.at(group)) - box.corner
        curve, strength = snap(lips, guess, 6, feature="edge", sigma=2, prior=0.06, stiff=0.03, smooth=4)
        curve = curve + box.corner
        strength = smoothed(strength, 6)
        count = len(curve)
        at = np.linspace(0, 1, count)
        darkness = smoothed(np.clip(sample_on(sitter.darkness, curve), 0, 1), 5)
        if group is mesh.LIP_TOP:
            swell = np.interp(at, [0, 0.12, 0.3, 0.5, 0.7, 0.88, 1], [0.5, 0.9, 1, 0.95, 1, 0.9, 0.5])
        else:
            swell = np.interp(at, [0, 0.2, 0.5, 0.8, 1], [0.4, 0.85, 1.15, 0.85, 0.4])
        width = np.clip(1.0 + 2.4 * strength + 0.3 * darkness, 1.15, 1.8) * swell
        free = sample_on(cover.beard, curve) < 0.75
        shown = ((strength > 0.012) | (np.abs(at - 0.5) < 0.22)) & free & (at >= first) & (at <= 1 - first)
        for start, end in runs(shown):
            if end - start > 12:
                canvas.stroke(curve[start:end], width[start:end] * taper(end - start, 0.2, 0.2, 0.2))
