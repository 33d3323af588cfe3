"""Traces a page: outlines of its ink between pixels (contourpy), fitted with few cubic Bezier curves by least squares.

All outlines are cut into pieces, and all pieces fitted at once; those that are too far from their outline are split,
and fitted again. Along an edge curves meet without a corner, as in Schneider, An Algorithm for Automatically Fitting
Digitized Curves (Graphics Gems, 1990).
"""

import itertools
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from apdraw_cli.conversion.enlarge import FINER, smoothed
from engines.portrait import WHITE, Image

Floats = npt.NDArray[np.float64]

Pieces = npt.NDArray[np.intp]
"""[N, 2]: the points where pieces begin and end."""

INK: Final = 127.5
"""The grey level that outlines run along."""

SMOOTHING: Final = 1
"""Steps of curvature motion before outlines are looked for."""

TOLERANCE: Final = 0.2
"""Pixels: no curve is farther from its outline."""

SPECK: Final = 0.5
"""Square pixels: what covers less is left out."""

REACH: Final = 3
"""Points of an outline to each side, by which its direction is known."""

CORNER: Final = 0.5
"""Cosine between the directions before and after a point, below which it is a corner."""

LONGEST: Final = 24.0
"""Pixels of an outline that one curve is tried on."""

SAMPLES: Final = 25
"""Places of a piece at which a curve is fitted and judged."""

REFINEMENTS: Final = 2

JOINING: Final = 4
"""How often neighbours are tried to be joined again: splitting leaves more pieces than needed."""

LARGE: Final = 1024
"""Pixels: a page whose longer side is above is fine enough to be traced as it is."""

MARGIN: Final = 2
"""White pixels around a page, so that every outline is closed."""


def traced(page: Image) -> list[Floats]:
    """The outlines of ink; filled by the even-odd rule they are the page.

    Args:
        page: uint8 [H, W], 0 black to 255 white.

    Returns:
        float64 [N, 4, 2] for each: cubic Bezier curves, each from its first point to its last, which is the first of
        the next, and the last of all the first. x and y are in pixels; 0, 0 is the corner of the page.
    """
    return fitted(outlines(page))


def outlines(page: Image) -> list[Floats]:
    """Polygons around ink and around the white in it, float64 [N, 2] each; the last point is the first again."""
    import contourpy
    import cv2

    framed = cv2.copyMakeBorder(page, *(MARGIN,) * 4, cv2.BORDER_CONSTANT, value=(WHITE,))
    finer = FINER if max(page.shape) <= LARGE else 1
    levels = framed if finer == 1 else smoothed(np.asarray(framed, np.uint8), SMOOTHING)
    found = contourpy.contour_generator(z=levels, name="serial").lines(INK)
    polygons = ((np.asarray(line, np.float64) + 0.5) / finer - MARGIN for line in found if len(line) > 2 * REACH)
    return [polygon for polygon in polygons if _area(polygon) >= SPECK]


def fitted(polygons: list[Floats]) -> list[Floats]:
    """Curves along closed polygons, as `traced` returns them."""
    if not polygons:
        return []
    tracks = [_Track.of(polygon) for polygon in polygons]
    points, arriving, leaving = (np.vstack([getattr(each, name) for each in tracks]) for name in _Track.JOINED)
    steps = np.hypot(*np.diff(points, axis=0, prepend=points[:1]).T)
    place = np.cumsum(np.maximum(steps, 1e-9))
    ends = np.cumsum([len(each.points) for each in tracks])
    cuts = [each.cuts() + end - len(each.points) for each, end in zip(tracks, ends, strict=True)]
    pieces = np.vstack([np.stack([each[:-1], each[1:]], axis=1) for each in cuts])
    fixed = np.unique(np.concatenate(cuts))

    def fit(pieces: Pieces) -> tuple[Floats, Floats]:
        return _curves(points, place, leaving, arriving, pieces)

    kept: list[tuple[Pieces, Floats]] = []
    while len(pieces):
        curves, distances = fit(pieces)
        done = (distances.max(axis=1) <= TOLERANCE) | (pieces[:, 1] - pieces[:, 0] < 2)
        kept.append((pieces[done], curves[done]))
        first, last = pieces[~done].T
        share = distances[~done].argmax(axis=1) / (SAMPLES - 1)
        middle = np.searchsorted(place, place[first] + share * (place[last] - place[first]))
        middle = np.clip(middle, first + 1, last - 1)
        pieces = np.vstack([np.stack([first, middle], axis=1), np.stack([middle, last], axis=1)])
    pieces, curves = (np.concatenate(each) for each in zip(*kept, strict=True))
    order = np.argsort(pieces[:, 0])
    pieces, curves = pieces[order], curves[order]
    for round_ in range(JOINING):
        pieces, curves = _joined(pieces, curves, fit, fixed, round_ % 2)
    return np.split(curves, np.searchsorted(pieces[:, 0], ends[:-1]))


def _joined(
    pieces: Pieces, curves: Floats, fit: Callable[[Pieces], tuple[Floats, Floats]], fixed: Pieces, first: int
) -> tuple[Pieces, Floats]:
    """Makes one piece of every two neighbours, from the first or second on, that one curve is near enough to."""
    pairs = np.arange(first, len(pieces) - 1, 2)
    meets = pieces[pairs, 1]
    pairs = pairs[(meets == pieces[pairs + 1, 0]) & ~np.isin(meets, fixed)]
    if not len(pairs):
        return pieces, curves
    longer = np.stack([pieces[pairs, 0], pieces[pairs + 1, 1]], axis=1)
    found, distances = fit(longer)
    good = distances.max(axis=1) <= TOLERANCE
    pairs = pairs[good]
    pieces, curves = pieces.copy(), curves.copy()
    pieces[pairs], curves[pairs] = longer[good], found[good]
    return np.delete(pieces, pairs + 1, axis=0), np.delete(curves, pairs + 1, axis=0)


class _Track:
    """A closed polygon that begins at its sharpest corner, with the directions in which it comes and goes."""

    JOINED: Final = ("points", "arriving", "leaving")

    def __init__(self, points: Floats, arriving: Floats, leaving: Floats, corner: npt.NDArray[np.bool_]) -> None:
        self.points, self.arriving, self.leaving, self.corner = points, arriving, leaving, corner

    @classmethod
    def of(cls, polygon: Floats) -> "_Track":
        """Looks for corners and directions of a polygon whose last point is its first."""
        points = polygon[:-1]
        before = _unit(points - np.roll(points, REACH, axis=0))
        after = _unit(np.roll(points, -REACH, axis=0) - points)
        bent = np.einsum("ij,ij->i", before, after)
        sharpest = np.minimum.reduce([np.roll(bent, shift) for shift in range(-REACH, REACH + 1)])
        corner = (bent < CORNER) & (bent == sharpest)
        smooth = _unit(before + after)
        found = [points, np.where(corner[:, None], before, smooth), np.where(corner[:, None], after, smooth), corner]
        found = [np.roll(each, -int(np.argmin(bent)), axis=0) for each in found]
        return cls(*(np.concatenate([each, each[:1]]) for each in found))

    def cuts(self) -> npt.NDArray[np.intp]:
        """Where it is cut at first: at both ends, at corners, and in between where that is far."""
        fixed = np.flatnonzero(self.corner)
        fixed = np.unique(np.concatenate([[0], fixed, [len(self.points) - 1]]))
        place = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(self.points, axis=0).T))])
        cuts = [np.array([0])]
        for start, end in itertools.pairwise(fixed):
            parts = int(np.ceil((place[end] - place[start]) / LONGEST))
            wanted = np.linspace(place[start], place[end], max(parts, 1) + 1)[1:]
            cuts.append(np.searchsorted(place, wanted - 1e-9))
        return np.unique(np.concatenate(cuts)).astype(np.intp)


def _curves(points: Floats, place: Floats, leaving: Floats, arriving: Floats, pieces: Pieces) -> tuple[Floats, Floats]:
    """The best curves for pieces [N, 2] of the points: [N, 4, 2], and how far they are away [N, SAMPLES]."""
    first, last = pieces.T
    length = place[last] - place[first]
    at = np.broadcast_to(np.linspace(0, 1, SAMPLES), (len(pieces), SAMPLES))
    wanted = place[first, None] + at * length[:, None]
    samples = np.stack([np.interp(wanted, place, points[:, axis]) for axis in (0, 1)], axis=2)
    outward, inward = leaving[first], -arriving[last]
    for attempt in range(REFINEMENTS + 1):
        curves = _best(samples, at, outward, inward, length)
        away = _on(curves, at) - samples
        if attempt < REFINEMENTS:
            at = _nearer(curves, at, away)
    return curves, np.hypot(away[..., 0], away[..., 1])


def _best(samples: Floats, at: Floats, outward: Floats, inward: Floats, length: Floats) -> Floats:
    """The curves of least squares whose handles have these directions."""
    rest = 1 - at
    w0, w1, w2, w3 = rest**3, 3 * at * rest**2, 3 * at**2 * rest, at**3
    start, end = samples[:, 0], samples[:, -1]
    missing = samples - (w0 + w1)[..., None] * start[:, None] - (w2 + w3)[..., None] * end[:, None]
    a, c = (w1 * w1).sum(axis=1), (w2 * w2).sum(axis=1)
    b = (w1 * w2).sum(axis=1) * (outward * inward).sum(axis=1)
    x = np.einsum("ns,nsd,nd->n", w1, missing, outward)
    y = np.einsum("ns,nsd,nd->n", w2, missing, inward)
    determinant = a * c - b * b
    handles = (
        np.stack([c * x - b * y, a * y - b * x], axis=1) / np.where(determinant > 1e-9, determinant, np.inf)[:, None]
    )
    usable = ((handles > 1e-3 * length[:, None]) & (handles < 2 * length[:, None])).all(axis=1, keepdims=True)
    handles = np.where(usable, handles, length[:, None] / 3)
    return np.stack([start, start + handles[:, :1] * outward, end + handles[:, 1:] * inward, end], axis=1)


def _on(curves: Floats, at: Floats) -> Floats:
    rest = 1 - at
    weights = np.stack([rest**3, 3 * at * rest**2, 3 * at**2 * rest, at**3], axis=2)
    return np.asarray(weights @ curves)


def _nearer(curves: Floats, at: Floats, away: Floats) -> Floats:
    """Parameters at which curves are nearer to their samples: a step of Newton's."""
    rest = 1 - at
    speed = np.stack([rest**2, 2 * at * rest, at**2], axis=2) @ (3 * np.diff(curves, axis=1))
    change = np.stack([rest, at], axis=2) @ (6 * np.diff(curves, 2, axis=1))
    slope = (speed * speed).sum(axis=2) + (away * change).sum(axis=2)
    moved = at - (away * speed).sum(axis=2) / np.where(np.abs(slope) < 1e-9, np.inf, slope)
    return np.maximum.accumulate(np.clip(moved, 0, 1), axis=1)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.hypot(vectors[:, 0], vectors[:, 1]), 1e-9)[:, None])


def _area(polygon: Floats) -> float:
    x, y = polygon.T
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2
