"""Curves along the face: smoothed, sampled across, and snapped to the photo by dynamic programming.

A curve is float64 [N, 2], x and y in pixels. Sampled curves have about equal steps.
"""

from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from train.npr.edge_flow import Plane

Curve = npt.NDArray[np.float64]
"""float64 [N, 2]: x, y."""
Floats = npt.NDArray[np.float64]

STEP = 1.5
"""Distance of neighbouring samples of a curve, pixels."""
ACROSS = 0.5
"""Distance of samples across a curve, pixels."""
REMAP_ROWS = 30000
"""OpenCV's remap takes no more than 32,767 rows."""

Feature = Literal["valley", "dark", "edge"]
"""What a curve is drawn to: a dark line, whatever is darkest, or the border between a light and a dark side."""


class Snapped(NamedTuple):
    """A curve drawn to the photo.

    Attributes:
        curve: float64 [N, 2].
        strength: float64 [N], how clearly the photo shows the feature there, in the plane's units.
    """

    curve: Curve
    strength: Floats


def smoothed(values: npt.ArrayLike, sigma: float, axis: int = 0, closed: bool = False) -> Floats:
    """Gaussian mean along one axis of an array with one or two dimensions.

    Args:
        values: [N] or [N, M].
        sigma: in samples.
        axis: 0 or 1.
        closed: whether the first sample follows the last one; else the ends are repeated.
    """
    values = np.asarray(values, np.float64)
    table = values[:, None] if values.ndim == 1 else values
    reach = int(4 * sigma) + 1
    border = (reach, reach) if closed else (0, 0)
    padded = np.pad(table, (border, (0, 0)) if axis == 0 else ((0, 0), border), mode="wrap") if closed else table
    size = (1, 2 * reach + 1) if axis == 0 else (2 * reach + 1, 1)
    blurred = np.asarray(
        cv2.GaussianBlur(padded, size, sigma, sigmaY=sigma, borderType=cv2.BORDER_REPLICATE), np.float64
    ).reshape(padded.shape)
    if closed:
        blurred = blurred[reach:-reach] if axis == 0 else blurred[:, reach:-reach]
    return blurred[:, 0] if values.ndim == 1 else blurred


def length_of(curve: Curve) -> float:
    """Length of a curve, pixels."""
    return float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum())


def resample(points: npt.ArrayLike, step: float = STEP) -> Curve:
    """The polyline through points, at equal steps; both ends are kept. At least 4 samples, if it has any length."""
    points = np.asarray(points, np.float64)
    at = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    moved = np.r_[True, np.diff(at) > 1e-6]
    points, at = points[moved], at[moved]
    if len(points) < 2:
        return points
    samples = np.linspace(0, at[-1], max(int(at[-1] / step) + 1, 4))
    return np.stack([np.interp(samples, at, points[:, axis]) for axis in (0, 1)], axis=1)


def spline(points: npt.ArrayLike, step: float = STEP, sigma: float | None = None) -> Curve:
    """A smooth curve near control points, ends kept.

    Args:
        points: [N, 2], at least two that differ.
        step: of the samples, pixels.
        sigma: of the smoothing, pixels; if None, 0.35 of the points' mean distance.
    """
    points = np.asarray(points, np.float64)
    if sigma is None:
        sigma = 0.35 * float(np.linalg.norm(np.diff(points, axis=0), axis=1).mean())
    dense = resample(points, 1.0)
    if len(dense) <= 3 or sigma <= 0:
        return resample(dense, step)
    reach = min(int(4 * sigma) + 1, len(dense)) - 1
    # Mirrored at its end points, the curve keeps them.
    before, after = 2 * dense[0] - dense[reach:0:-1], 2 * dense[-1] - dense[-2 : -reach - 2 : -1]
    return resample(smoothed(np.vstack([before, dense, after]), sigma)[reach : reach + len(dense)], step)


def smooth_curve(curve: Curve, sigma: float = 2.5) -> Curve:
    """A calmer curve; sigma in samples. Its ends draw in a little."""
    return smoothed(curve, sigma) if len(curve) > 6 else curve


def tangents(curve: Curve) -> Curve:
    """Unit vectors along a curve."""
    along = np.gradient(curve, axis=0)
    return np.asarray(along / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9), np.float64)


def normals(curve: Curve) -> Curve:
    """Unit vectors across a curve: the tangents turned from x to y."""
    along = tangents(curve)
    return np.stack([-along[:, 1], along[:, 0]], axis=1)


def normals_away(curve: Curve, centre: npt.ArrayLike) -> Curve:
    """Normals that point away from a centre."""
    across = normals(curve)
    sides = np.sign(((curve - np.asarray(centre)) * across).sum(axis=1, keepdims=True))
    return np.asarray(across * np.where(sides == 0, 1, sides), np.float64)


def sample(plane: npt.NDArray[np.generic], x: npt.ArrayLike, y: npt.ArrayLike) -> Plane:
    """Values of a plane between its pixels, the rim repeated outside.

    Args:
        plane: [H, W].
        x: one or two dimensions.
        y: of the same shape.

    Returns:
        float32, shaped like `x`.
    """
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    if x.ndim == 1:
        return sample(plane, x[:, None], y[:, None])[:, 0]
    if len(x) > REMAP_ROWS:
        parts = range(0, len(x), REMAP_ROWS)
        return np.concatenate([sample(plane, x[i : i + REMAP_ROWS], y[i : i + REMAP_ROWS]) for i in parts])
    return np.asarray(cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def sample_on(plane: npt.NDArray[np.generic], curve: Curve) -> Floats:
    """Values of a plane on a curve, float64 [N]."""
    return sample(plane, curve[:, 0], curve[:, 1]).astype(np.float64)


def strip(plane: Plane, curve: Curve, tube: float) -> tuple[Floats, Floats, Curve]:
    """A plane unrolled along a curve.

    Args:
        plane: [H, W].
        curve: [N, 2].
        tube: pixels sampled to each side.

    Returns:
        The values [N, M], their M offsets along the normals, and the normals [N, 2].
    """
    across = normals(curve)
    offsets = np.arange(-tube, tube + ACROSS / 2, ACROSS)
    x = curve[:, :1] + offsets[None] * across[:, :1]
    y = curve[:, 1:] + offsets[None] * across[:, 1:]
    return sample(plane, x, y).astype(np.float64), offsets, across


def snap(
    plane: Plane,
    curve: Curve,
    tube: float,
    *,
    feature: Feature = "valley",
    sigma: float = 1.6,
    along: float = 3.0,
    prior: float = 0.03,
    stiff: float = 0.02,
    smooth: float = 3.0,
    sign: int = 0,
) -> Snapped:
    """Moves a curve along its normals to the strongest line of a plane near it.

    A dynamic programme chooses one offset for each sample: the sum of the feature's strengths, less a prior for
    small offsets and a price for changes from sample to sample, is greatest.

    Args:
        plane: dark features are low values.
        curve: where the feature is expected.
        tube: how far it may lie aside, pixels.
        feature: what is looked for.
        sigma: half width of a valley, or blur across an edge, pixels.
        along: blur along the curve, samples.
        prior: price of an offset as large as the tube.
        stiff: price of a change by one step (`ACROSS`) between samples; times its square.
        smooth: of the chosen offsets, samples.
        sign: of an edge: 1 if the plane rises along the normal, -1 if it falls, 0 for both.
    """
    pad = 4.0
    values, offsets, across = strip(plane, curve, tube + pad)
    found = _feature(smoothed(values, along), feature, sigma / ACROSS, sign)
    margin = int(pad / ACROSS)
    found, offsets = found[:, margin:-margin], offsets[margin:-margin]
    path = best_path(found - prior * (offsets / tube) ** 2, stiff)
    moved = smoothed(offsets[path], smooth)
    strength = smoothed(found[np.arange(len(path)), path], 2.0)
    return Snapped(curve + moved[:, None] * across, strength)


def valleys(values: Floats, sigma: float, ratio: float = 1.8) -> Floats:
    """How much darker than its sides each place of a row is: two Gaussian means along axis 1; sigma in samples."""
    return smoothed(values, ratio * sigma, axis=1) - smoothed(values, sigma, axis=1)


def _feature(values: Floats, feature: Feature, sigma: float, sign: int) -> Floats:
    if feature == "valley":
        return valleys(values, sigma)
    calm = smoothed(values, sigma, axis=1)
    if feature == "dark":
        return np.asarray(calm.mean(axis=1, keepdims=True) - calm)
    rise = 2 * np.gradient(calm, axis=1)
    return np.abs(rise) if sign == 0 else np.maximum(sign * rise, 0)


def best_path(reward: Floats, stiff: float, reach: int = 2) -> npt.NDArray[np.intp]:
    """The path through a table, one column for each row, with the greatest sum.

    Args:
        reward: [N, M].
        stiff: price of a step of one column from row to row; times its square.
        reach: the longest step.

    Returns:
        [N] columns.
    """
    rows, columns = reward.shape
    steps = np.arange(-reach, reach + 1)
    price = stiff * steps.astype(np.float64) ** 2
    back = np.zeros((rows, columns), np.intp)
    padded = np.full(columns + 2 * reach, -np.inf)
    best = reward[0].copy()
    here = np.arange(columns)
    window = here[:, None] + np.arange(2 * reach + 1)
    for row in range(1, rows):
        padded[reach:-reach] = best
        candidates = padded[window] - price
        chosen = candidates.argmax(axis=1)
        best = candidates[here, chosen] + reward[row]
        back[row] = here + steps[chosen]
    path = np.zeros(rows, np.intp)
    path[-1] = best.argmax()
    for row in range(rows - 1, 0, -1):
        path[row - 1] = back[row, path[row]]
    return path


def runs(mask: npt.ArrayLike) -> list[tuple[int, int]]:
    """Where a row of truth values is true: (start, end) pairs, end not included."""
    changes = np.diff(np.r_[0, np.asarray(mask, bool).astype(np.int8), 0])
    return list(zip(np.nonzero(changes == 1)[0].tolist(), np.nonzero(changes == -1)[0].tolist(), strict=True))


def strong_runs(strength: Floats, high: float, low: float, shortest: int) -> list[tuple[int, int]]:
    """Stretches of a curve that are drawn (hysteresis).

    Args:
        strength: [N].
        high: a stretch reaches this on a third of `shortest`.
        low: a stretch ends below this.
        shortest: samples.
    """
    return [
        (start, end)
        for start, end in runs(strength > low)
        if end - start >= shortest and (strength[start:end] > high).sum() >= shortest / 3
    ]


def taper(count: int, head: float = 0.3, tail: float = 0.3, floor: float = 0.15, power: float = 0.8) -> Floats:
    """Width factors of a stroke that swells and thins: `floor` at its ends, 1 between.

    Args:
        count: samples.
        head: share of the stroke that swells.
        tail: share that thins.
        floor: factor at the ends.
        power: below 1 the stroke swells fast.
    """
    at = np.linspace(0, 1, count)
    width = np.ones(count)
    if head > 0:
        width = np.minimum(width, (at / head) ** power)
    if tail > 0:
        width = np.minimum(width, ((1 - at) / tail) ** power)
    return np.asarray(floor + (1 - floor) * np.clip(width, 0, 1), np.float64)
