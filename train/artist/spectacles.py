"""Spectacles: closed rims, a superellipse fitted to the dark and bright lines around both eyes at once.

Around each eye the photo is unrolled by angle. A dynamic programme finds the strongest closed path, which tells whether
spectacles are worn. The rims' shape is one superellipse, mirrored, whose outline collects the most of such lines around
both eyes: it does not follow a brow or a fold where the rim is faint. It is snapped a last time and drawn closed, as
thick as the frame is.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from train.artist import mesh
from train.artist.canvas import Canvas, polygon_mask
from train.artist.curves import (
    Curve,
    Feature,
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
"""Score above which spectacles may be worn."""
CLEAR_BRIDGE: Final = 0.23
CLEAR_RIMS: Final = 0.08
"""One of both must be reached too: wrinkles around old eyes score, but have neither a bridge nor a lens's shape."""
STRETCH: Final = 1.12
"""Lenses are wider than high."""
ANGLES: Final = np.deg2rad(np.arange(0, 360, 2.0))
INNERMOST: Final = 0.22
"""Radius, in eye distances, from where a path may run."""
USUAL: Final = np.array([0.04, 0.04, 0.38, 0.26, 3.0, 0.08, 0.0])
"""A lens: see `_fit_lenses`."""
SPREAD: Final = np.array([0.04, 0.06, 0.06, 0.06, 1.5, 0.10, 0.10])
STEPS: Final = np.array([0.02, 0.02, 0.02, 0.02, 0.4, 0.05, 0.06])
"""First changes that a fit tries."""
SHADED: Final = 0.6
"""Darkness around both eyes above which they lie behind sunglasses."""
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
class _Unrolled:
    """The surroundings of an eye by angle (towards the temple 0, then down) and radius, in eye distances.

    Attributes:
        middle: of the eye, pixels.
        sense: 1 if the temple lies to the image's right, else -1.
        radius: float64 [R].
        lines: float64 [A, R], strength of dark and bright lines around the eye.
        reward: float64 [A, R], the same, capped, less where no lens reaches.
    """

    middle: Floats
    sense: int
    radius: Floats
    lines: Floats
    reward: Floats


def draw_spectacles(sitter: Sitter, canvas: Canvas) -> Spectacles:
    """Draws spectacles, if the sitter wears any."""
    tones = (sitter.light / np.float32(sitter.contrast)).astype(np.float32)
    dark = _are_dark(sitter)
    eyes = [_unroll(sitter, tones, side, dark) for side in (0, 1)]
    lower = (np.deg2rad(15) < ANGLES) & (np.deg2rad(165) > ANGLES)
    paths = [_path_strength(eye)[lower] for eye in eyes]
    rim = float(np.mean([np.median(path) + np.percentile(path, 20) for path in paths]))
    bridge = _bridge_strength(sitter, tones)
    score = rim + 0.6 * bridge
    if score <= WORN:
        return Spectacles(False, False, (), score)
    lenses, clear = _fit_lenses(eyes)
    if bridge < CLEAR_BRIDGE and clear < CLEAR_RIMS:
        return Spectacles(False, False, (), score)
    rims, widths = [], []
    for eye, lens in zip(eyes, lenses, strict=True):
        curve, width = _refine(tones, dark, _placed(eye, lens, sitter.eye_distance))
        rims.append(curve)
        widths.append(width)
    for curve, width in zip(rims, widths, strict=True):
        if dark:
            canvas.polygon(curve)
        canvas.stroke(np.vstack([curve, curve[:2]]), np.r_[width, width[:2]])
    _draw_bridge(sitter, tones, rims, canvas)
    _draw_temples(sitter, tones, rims, canvas)
    return Spectacles(True, dark, tuple(rims), score)


def _unroll(sitter: Sitter, tones: Plane, side: int, dark: bool) -> _Unrolled:
    """Looks for lines around an eye, or for the outer edges of dark lenses."""
    distance = sitter.eye_distance
    outline = sitter.at(mesh.UPPER_LIDS[side] + mesh.LOWER_LIDS[side][1:-1])
    middle = outline.mean(axis=0) + np.array([0, 0.03 * distance])
    sense = 1 if side else -1
    radius = np.arange(0.15 * distance, 0.66 * distance, 1.0)
    x = middle[0] + sense * STRETCH * radius[None] * np.cos(ANGLES)[:, None]
    y = middle[1] + radius[None] * np.sin(ANGLES)[:, None]
    values = smoothed(sample(tones, x, y), 1.2, closed=True)
    lines = np.max([valleys(values, sigma, 1.9) for sigma in (1.6, 2.8, 4.5)], axis=0)
    lines = np.maximum(lines, -0.7 * valleys(values, 1.6, 1.9))  # shining metal
    if dark:
        lines = np.maximum(2 * np.gradient(smoothed(values, 3, axis=1), axis=1), 0)
    lines[:, -6:] = 0
    reward = np.minimum(lines, REWARD)
    reward[sense * (x - sitter.mesh[168, 0]) < -0.02 * distance] = -0.02  # beyond the nose
    radius = radius / distance
    reward[radius[None] > _limit()[:, None]] = -0.05
    return _Unrolled(middle, sense, radius, lines, reward)


def _limit() -> Floats:
    """How far a lens may reach by angle, in eye distances."""
    nasal, down = np.cos(ANGLES) < 0, np.sin(ANGLES) > 0
    across, up_down = np.where(nasal, 0.45, 0.62), np.where(down, 0.47, 0.38)
    limit = np.hypot(across * np.cos(ANGLES), up_down * np.sin(ANGLES))
    return np.asarray(limit * np.where(nasal & down, 0.94, 1.0), np.float64)


def _path_strength(eye: _Unrolled) -> Floats:
    """Strength by angle of the best closed path of lines around an eye."""
    first = int(np.searchsorted(eye.radius, INNERMOST)) + 6
    reward = eye.reward[:, first:]
    # Three turns: the middle one closes.
    path = best_path(np.vstack([reward] * 3), 0.0015, 4)[len(ANGLES) : 2 * len(ANGLES)]
    rows = np.arange(len(ANGLES))
    taken = reward[rows, path]
    return np.where(taken < 0, taken, np.minimum(eye.lines[:, first:], 0.25)[rows, path])


def _fit_lenses(eyes: list[_Unrolled]) -> tuple[list[Floats], float]:
    """The lenses around both eyes: [x, y, half width, half height, exponent, taper, tilt] each, in eye distances.

    x is towards the temple. A lens is narrower below by its taper, and turned by its tilt, radians. The second value is
    the mean reward on their outlines.
    """
    starts = np.array(
        [
            (x, y, half, high, exponent, 0.08, 0.0)
            for x in (0.0, 0.05)
            for y in (0.0, 0.05)
            for half in (0.31, 0.37, 0.43)
            for high in (0.19, 0.24, 0.30)
            for exponent in (2.3, 3.5)
        ]
    )
    coarse, fine = ([smoothed(eye.reward, sigma, axis=1) for eye in eyes] for sigma in (4.0, 1.5))
    score = sum(_collected(eye, table, starts) for eye, table in zip(eyes, coarse, strict=True)) - _oddness(starts)
    found = []
    for start in starts[np.argsort(-score, kind="stable")[:4]]:
        lens = start
        for tables, size in ((coarse, 1.0), (coarse, 0.5), (fine, 0.5), (fine, 0.25), (fine, 0.12)):
            lens, worth = _climb(eyes, tables, lens, size * STEPS, lens, 0.0)
        found.append((worth, lens))
    shared = max(found, key=lambda item: item[0])[1]
    lenses = []
    for eye, table in zip(eyes, fine, strict=True):
        own = shared
        for size in (0.5, 0.25, 0.12):
            own, _ = _climb([eye], [table], own, size * STEPS, shared, 0.02)
        lenses.append(own)
    clear = [float(_collected(eye, table, lens[None])[0]) for eye, table, lens in zip(eyes, fine, lenses, strict=True)]
    return lenses, float(np.mean(clear))


def _climb(
    eyes: list[_Unrolled], tables: list[Floats], lens: Floats, steps: Floats, usual: Floats, loyalty: float
) -> tuple[Floats, float]:
    """Changes one number of a lens after the other while that collects more; returns the lens and its worth."""
    changes = np.vstack([np.zeros(len(steps)), np.diag(steps), -np.diag(steps)])
    worth = -np.inf
    for _ in range(12):
        trials = lens + changes
        values = sum(_collected(eye, table, trials) for eye, table in zip(eyes, tables, strict=True)) / len(eyes)
        values = values - _oddness(trials) - loyalty * (((trials - usual) / STEPS) ** 2).sum(axis=1)
        best = int(np.argmax(values))
        worth = float(values[best])
        if best == 0:
            break
        lens = trials[best]
    return lens, worth


def _outline(lenses: Floats) -> tuple[Floats, Floats]:
    """Outlines of lenses [L, 7]: x and y, each [L, A], in eye distances, x towards the temple."""
    x, y, half, high, exponent, narrow, tilt = (column[:, None] for column in lenses.T)
    across, down = np.abs(np.cos(ANGLES)) / half, np.abs(np.sin(ANGLES)) / high
    reach = (across**exponent + down**exponent) ** (-1 / exponent)
    u, v = reach * np.cos(ANGLES), reach * np.sin(ANGLES)
    u = u * (1 - narrow * v / high)
    turned_x, turned_y = u * np.cos(tilt) - v * np.sin(tilt), u * np.sin(tilt) + v * np.cos(tilt)
    return np.asarray(x + turned_x), np.asarray(y + turned_y)


def _collected(eye: _Unrolled, table: Floats, lenses: Floats) -> Floats:
    """Mean reward on the outlines of lenses, [L]; the lower half, where no brow is near, counts more."""
    x, y = _outline(lenses)
    angle = np.arctan2(y, x / STRETCH)
    rows = np.rint(angle / (ANGLES[1] - ANGLES[0])).astype(int) % len(ANGLES)
    radius = np.hypot(x / STRETCH, y)
    spacing = eye.radius[1] - eye.radius[0]
    columns = np.rint((radius - eye.radius[0]) / spacing).astype(int)
    outside = (columns < 0) | (columns >= len(eye.radius))
    reward = np.where(outside, -0.05, table[rows, np.clip(columns, 0, len(eye.radius) - 1)])
    weight = np.where(np.sin(ANGLES) > -0.1, 1.5, 1.0)
    return np.asarray((reward * weight).sum(axis=1) / weight.sum())


def _oddness(lenses: Floats) -> Floats:
    """Price of unusual lenses, [L]."""
    off = (lenses - USUAL) / SPREAD
    impossible = (lenses[:, 4] < 2) | (lenses[:, 4] > 6)
    return np.asarray(0.003 * (off**2).sum(axis=1) + impossible)


def _placed(eye: _Unrolled, lens: Floats, distance: float) -> Curve:
    x, y = _outline(lens[None])
    outline = np.stack([eye.sense * x[0], y[0]], axis=1) * distance + eye.middle
    return resample(np.vstack([outline, outline[:1]]))[:-1]


def _bridge_strength(sitter: Sitter, tones: Plane) -> float:
    """The strongest line across the bridge of the nose, dark or bright."""
    upper, lower = sitter.at(mesh.BETWEEN_EYES)
    distance = sitter.eye_distance
    rows = np.arange(upper[1] - 0.16 * distance, lower[1] + 0.16 * distance)
    columns = np.linspace(upper[0] - 0.05 * distance, upper[0] + 0.05 * distance, 9)
    x, y = np.meshgrid(columns, rows)
    profile = sample(tones, x, y).mean(axis=1)[None].astype(np.float64)
    return max(float(np.abs(valleys(profile, sigma, 1.9))[0, 6:-6].max()) for sigma in (1.6, 2.8, 4.5))


def _refine(tones: Plane, dark: bool, curve: Curve) -> tuple[Curve, Floats]:
    """A rim snapped to the photo, and its width in pixels of the drawing."""
    overlap = 20
    around = np.vstack([curve[-overlap:], curve, curve[:overlap]])
    feature: Feature = "edge" if dark else "valley"
    around, _ = snap(tones, around, 5, feature=feature, sigma=2.0, prior=0.06, stiff=0.03, smooth=6)
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


def _are_dark(sitter: Sitter) -> bool:
    """Whether both eyes lie behind lenses as dark as sunglasses: as dark beside the eyes as within them."""
    values = []
    for side in (0, 1):
        outline = sitter.at(mesh.UPPER_LIDS[side] + mesh.LOWER_LIDS[side][-2:0:-1])
        middle = outline.mean(axis=0)
        around = polygon_mask(middle + np.array([1.2, 2.2]) * (outline - middle))
        values.append(float(np.percentile(sitter.darkness[around], 25)))
    return min(values) > SHADED


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
