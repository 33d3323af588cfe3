"""Spectacles: closed rims of one lens shape, found by a path around each eye and a Fourier series through it.

Around each eye the photo is unrolled by angle; a dynamic programme finds the closed path of dark (or bright) lines.
Both lenses' paths, one mirrored, then give one smooth shape by weighted least squares: a path that strays into a fold
or breaks off costs little. Rims are snapped a last time and drawn closed, as thick as the frame is.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from train.artist import mesh
from train.artist.canvas import Canvas, polygon_mask
from train.artist.curves import (
    Curve,
    Floats,
    best_path,
    resample,
    sample,
    smoothed,
    snap,
    spline,
    strip,
    taper,
    valleys,
)
from train.artist.sitter import Sitter
from train.npr.edge_flow import Plane

WORN: Final = 0.225
"""Score above which spectacles are worn."""
STRETCH: Final = 1.12
"""Lenses are wider than high."""
ANGLES: Final = np.deg2rad(np.arange(0, 360, 2))
HARMONICS: Final = 5
SHADED: Final = 0.6
"""Darkness of most of both lenses above which they are sunglasses."""
REWARD: Final = 0.12
"""Highest reward of a rim: one that is dark all over shall not outweigh a faint one."""


@dataclass(frozen=True)
class Spectacles:
    """What was found and drawn.

    Attributes:
        worn: whether they were drawn.
        shaded: whether they are sunglasses, which hide the eyes.
        rims: two closed curves, [N, 2]; none if not worn.
        quality: the score: strength of the rims and the bridge.
    """

    worn: bool
    shaded: bool
    rims: tuple[Curve, ...]
    quality: float


@dataclass(frozen=True)
class _Path:
    """A closed path by angle; angle 0 points to the image's right."""

    middle: Floats
    radius: Floats
    strength: Floats


def draw_spectacles(sitter: Sitter, canvas: Canvas) -> Spectacles:
    """Draws spectacles, if the sitter wears any."""
    tones = (sitter.light / np.float32(sitter.contrast)).astype(np.float32)
    paths = [_find_path(sitter, tones, side) for side in (0, 1)]
    lower = (np.deg2rad(15) < ANGLES) & (np.deg2rad(165) > ANGLES)
    rim = float(np.mean([np.median(p.strength[lower]) + np.percentile(p.strength[lower], 20) for p in paths]))
    score = rim + 0.6 * _bridge_strength(sitter, tones)
    if score <= WORN:
        return Spectacles(False, False, (), score)
    shapes = _lens_shapes(paths)
    rims, widths = [], []
    for path, radius in zip(paths, shapes, strict=True):
        curve, width = _refine(tones, _placed(path.middle, radius))
        rims.append(curve)
        widths.append(width)
    shaded = _are_shaded(sitter, rims)
    for curve, width in zip(rims, widths, strict=True):
        if shaded:
            canvas.polygon(curve)
        canvas.stroke(np.vstack([curve, curve[:2]]), np.r_[width, width[:2]])
    _draw_bridge(sitter, tones, rims, canvas)
    _draw_temples(sitter, tones, rims, canvas)
    return Spectacles(True, shaded, tuple(rims), score)


def _placed(middle: Floats, radius: Floats) -> Curve:
    x = middle[0] + STRETCH * radius * np.cos(ANGLES)
    return np.stack([x, middle[1] + radius * np.sin(ANGLES)], axis=1)


def _find_path(sitter: Sitter, tones: Plane, side: int) -> _Path:
    distance = sitter.eye_distance
    outline = sitter.at(mesh.UPPER_LIDS[side] + mesh.LOWER_LIDS[side][1:-1])
    middle = outline.mean(axis=0) + np.array([0, 0.03 * distance])
    radius = np.arange(0.22 * distance, 0.66 * distance, 1.0)
    x = middle[0] + STRETCH * radius[None] * np.cos(ANGLES)[:, None]
    y = middle[1] + radius[None] * np.sin(ANGLES)[:, None]
    values = smoothed(sample(tones, x, y), 1.2, closed=True)
    line = np.max([valleys(values, sigma, 1.9) for sigma in (1.6, 2.8, 4.5)], axis=0)
    line = np.maximum(line, -0.7 * valleys(values, 1.6, 1.9))  # shining metal
    line[:, :6] = line[:, -6:] = 0
    reward = np.minimum(line, REWARD)
    over_nose = x < sitter.mesh[168, 0] + 0.02 * distance if side else x > sitter.mesh[168, 0] - 0.02 * distance
    reward[over_nose] = -0.02
    reward[radius[None] > _limit(side)[:, None] * distance] = -0.05
    # Three turns: the middle one closes.
    turns = best_path(np.vstack([reward] * 3), 0.0015, 4)[len(ANGLES) : 2 * len(ANGLES)]
    rows = np.arange(len(ANGLES))
    taken = reward[rows, turns]
    strength = np.where(taken < 0, taken, np.minimum(line, 0.25)[rows, turns])
    return _Path(middle, radius[turns], strength)


def _limit(side: int) -> Floats:
    """How far a lens may reach by angle, in eye distances."""
    nasal = np.cos(ANGLES) * (1 if side == 0 else -1)
    across, up_down = np.where(nasal > 0, 0.45, 0.62), np.where(np.sin(ANGLES) > 0, 0.47, 0.38)
    limit = np.hypot(across * np.cos(ANGLES), up_down * np.sin(ANGLES))
    return np.asarray(limit * np.where((nasal > 0) & (np.sin(ANGLES) > 0), 0.94, 1.0), np.float64)


def _bridge_strength(sitter: Sitter, tones: Plane) -> float:
    """The strongest line across the bridge of the nose, dark or bright."""
    upper, lower = sitter.at(mesh.BETWEEN_EYES)
    distance = sitter.eye_distance
    rows = np.arange(upper[1] - 0.16 * distance, lower[1] + 0.16 * distance)
    columns = np.linspace(upper[0] - 0.05 * distance, upper[0] + 0.05 * distance, 9)
    x, y = np.meshgrid(columns, rows)
    profile = sample(tones, x, y).mean(axis=1)[None].astype(np.float64)
    return max(float(np.abs(valleys(profile, sigma, 1.9))[0, 6:-6].max()) for sigma in (1.6, 2.8, 4.5))


def _lens_shapes(paths: list[_Path]) -> list[Floats]:
    """One smooth shape for both lenses, mirrored, and each lens near it: radius by angle."""
    order = np.arange(HARMONICS + 1)
    basis = np.hstack([np.cos(np.outer(ANGLES, order)), np.sin(np.outer(ANGLES, order[1:]))])
    mirrored = np.hstack([np.cos(np.outer(np.pi - ANGLES, order)), np.sin(np.outer(np.pi - ANGLES, order[1:]))])
    bases = [basis, mirrored]  # the image's right lens in the left one's angles
    price = np.diag(1e-3 * np.r_[order, order[1:]].astype(np.float64) ** 3)
    weights = [np.clip(path.strength, 0.003, REWARD) / REWARD for path in paths]
    shared: Floats = np.zeros(basis.shape[1])
    for step in range(5):
        left, right = price * len(ANGLES), np.zeros(basis.shape[1])
        for path, table, weight in zip(paths, bases, weights, strict=True):
            sure = weight * _doubt(path.radius - table @ shared, step)
            left = left + table.T @ (sure[:, None] * table)
            right = right + table.T @ (sure * path.radius)
        shared = np.linalg.solve(left, right)
    shapes = []
    for path, table, weight in zip(paths, bases, weights, strict=True):
        own = shared
        for _ in range(3):
            sure = weight * _doubt(path.radius - table @ own, 5)
            left = table.T @ (sure[:, None] * table) + np.eye(len(own)) * (0.12 * len(ANGLES)) + price * len(ANGLES)
            own = np.linalg.solve(left, table.T @ (sure * path.radius) + shared * (0.12 * len(ANGLES)))
        shapes.append(table @ own)
    return shapes


def _doubt(error: Floats, step: int) -> Floats:
    """Weights that fall where a path strays from the shape; none at the first step."""
    return np.ones(len(error)) if step == 0 else 1 / (1 + (error / 6) ** 2)


def _refine(tones: Plane, curve: Curve) -> tuple[Curve, Floats]:
    """A rim snapped to the photo, and its width in pixels of the drawing."""
    overlap = 20
    around = np.vstack([curve[-overlap:], curve, curve[:overlap]])
    around, _ = snap(tones, around, 5, sigma=2.0, prior=0.06, stiff=0.03, smooth=6)
    rim = smoothed(around[overlap:-overlap], 2, closed=True)
    rim = resample(np.vstack([rim, rim[:1]]))[:-1]
    values, _, _ = strip(tones, rim, 12)
    beside = np.minimum(values[:, :6].max(axis=1), values[:, -6:].max(axis=1))
    middle = values[:, 20:29].min(axis=1)
    depth = smoothed(beside - middle, 8, closed=True)
    run = (values < ((beside + middle) / 2)[:, None]).sum(axis=1) * 0.5
    run = smoothed(np.clip(run, 1.5, 9), 16, closed=True)
    width = np.clip(0.5 * run, 1.0, 3.8) * np.clip(depth / 0.35, 0.4, 1)
    return rim, smoothed(np.maximum(width, 0.9), 8, closed=True)


def _are_shaded(sitter: Sitter, rims: list[Curve]) -> bool:
    """Whether most of both lenses is as dark as sunglasses."""
    dark = []
    for rim in rims:
        middle = rim.mean(axis=0)
        inside = polygon_mask(middle + 0.8 * (rim - middle))
        dark.append(float(np.percentile(sitter.darkness[inside], 30)) if inside.any() else 0.0)
    return min(dark) > SHADED


def _draw_bridge(sitter: Sitter, tones: Plane, rims: list[Curve], canvas: Canvas) -> None:
    distance = sitter.eye_distance
    height = 0.45 * sitter.mesh[168, 1] + 0.55 * sitter.mesh[6, 1] - 0.06 * distance
    left, right = _reach(rims[0], height, distance, 1), _reach(rims[1], height, distance, -1)
    top = (left + right) / 2 - (0, 0.05 * distance)
    guess = np.array([left, (left + top) / 2 - (0, 3), top, (right + top) / 2 - (0, 3), right])
    curve, strength = snap(tones, spline(guess, sigma=6), 14, sigma=2.4, prior=0.01, smooth=5)
    canvas.stroke(_fixed_ends(curve, left, right), np.clip(1.1 + 4 * np.maximum(smoothed(strength, 6), 0), 1.1, 3.0))


def _draw_temples(sitter: Sitter, tones: Plane, rims: list[Curve], canvas: Canvas) -> None:
    distance = sitter.eye_distance
    for rim, sense, place in ((rims[0], -1, mesh.TEMPLES[0]), (rims[1], 1, mesh.TEMPLES[1])):
        start = _reach(rim, rim[:, 1].min() + 0.18 * distance, distance, sense)
        end = sitter.mesh[place] - (0, 0.02 * distance)
        if sense * (end[0] - start[0]) < 10:
            continue
        curve, strength = snap(tones, resample(np.array([start, end])), 14, sigma=2.4, prior=0.005, smooth=6)
        if np.median(strength) > 0.03:
            width = np.clip(1.0 + 4 * np.maximum(smoothed(strength, 6), 0), 1.1, 3.0)
            canvas.stroke(_fixed_ends(curve, start, None), width * taper(len(curve), 0.02, 0.2, 0.4))


def _fixed_ends(curve: Curve, start: Floats, end: Floats | None) -> Curve:
    """A curve whose ends are bent to given places."""
    pull = np.exp(-np.arange(len(curve)) / 6)[:, None]
    curve = curve + (start - curve[0]) * pull
    return curve if end is None else curve + (end - curve[-1]) * pull[::-1]


def _reach(rim: Curve, height: float, distance: float, sense: int) -> Floats:
    """The rim's farthest place to the right (1) or left (-1) near a height."""
    near = rim[np.abs(rim[:, 1] - height) < 0.1 * distance]
    near = near if len(near) else rim
    return np.asarray(near[int((sense * near[:, 0]).argmax())], np.float64)
