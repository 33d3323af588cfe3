"""Strokes that the photo itself seeds: streamlines of a flow along the ridges of a response.

All seeds walk at once, both ways; then the strongest strokes are kept, as far as they lie apart from each other. Planes
may be parts of a portrait; places are pixels of theirs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from train.artist.curves import Curve, Floats, length_of, sample, smooth_curve, smoothed
from train.npr.edge_flow import Plane, ridges
from train.npr.face_parsing import Mask

Flow = npt.NDArray[np.float32]
"""float32 [H, W, 2]: unit vectors without a sense, x and y."""


class Seeds(NamedTuple):
    """Where strokes begin, strongest first.

    Attributes:
        places: float64 [S, 2].
        strength: float64 [S], the response there.
    """

    places: Curve
    strength: Floats


class Traces(NamedTuple):
    """Walks from seeds, both ways; a walk's first place is its seed.

    Attributes:
        forward: float64 [S, T, 2].
        forward_steps: int [S], how many of the T places count.
        backward: as `forward`.
        backward_steps: as `forward_steps`.
    """

    forward: Floats
    forward_steps: npt.NDArray[np.intp]
    backward: Floats
    backward_steps: npt.NDArray[np.intp]


class Stroke(NamedTuple):
    """A stroke along a ridge.

    Attributes:
        curve: float64 [N, 2].
        response: float64 [N], smoothed along the stroke.
    """

    curve: Curve
    response: Floats


def find_seeds(response: Plane, flow: Flow, where: Mask, high: float, cell: int = 4, limit: int = 4000) -> Seeds:
    """Ridges of a response above `high`: the strongest of each cell, at most `limit` in all."""
    rows, columns = np.nonzero(ridges(response, flow) & where & (response > high))
    strength = response[rows, columns].astype(np.float64)
    order = np.argsort(-strength, kind="stable")
    rows, columns, strength = rows[order], columns[order], strength[order]
    cells = (rows // cell) * response.shape[1] + columns // cell
    first = np.sort(np.unique(cells, return_index=True)[1])[:limit]
    return Seeds(np.stack([columns[first], rows[first]], axis=1).astype(np.float64), strength[first])


def trace(
    flow: Flow,
    response: Plane,
    places: Curve,
    low: float,
    reach: float,
    *,
    step: float = 1.5,
    pull: float = 0.35,
    bend: float = 0.8,
) -> Traces:
    """Walks along the flow from places, both ways.

    Args:
        flow: along the strokes.
        response: a walk ends where it is below `low`.
        places: float64 [S, 2].
        low: see `response`.
        reach: the longest walk each way, pixels.
        step: of the walk, pixels.
        pull: towards the ridge, at most so many pixels a step.
        bend: a walk ends where the flow turns by more than the angle of this cosine.
    """
    forward, forward_steps = _walk(flow, response, places, 1, low, int(reach / step), step, pull, bend)
    backward, backward_steps = _walk(flow, response, places, -1, low, int(reach / step), step, pull, bend)
    return Traces(forward, forward_steps, backward, backward_steps)


def _walk(
    flow: Flow,
    response: Plane,
    places: Curve,
    sense: int,
    low: float,
    steps: int,
    step: float,
    pull: float,
    bend: float,
) -> tuple[Floats, npt.NDArray[np.intp]]:
    height, width = response.shape
    at = places.astype(np.float64).copy()
    heading = sense * _nearest(flow, at)
    count = np.ones(len(at), np.intp)
    walking = np.arange(len(at))  # those that have not ended
    path = np.repeat(at[:, None], steps + 1, axis=1)
    for index in range(1, steps + 1):
        here, ahead = at[walking], _nearest(flow, at[walking])
        turn = (ahead * heading[walking]).sum(axis=1, keepdims=True)
        ahead = np.where(turn < 0, -ahead, ahead)
        ahead = heading[walking] + ahead
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9
        here = here + step * ahead
        if pull:
            across = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
            left, middle, right = (
                sample(response, *(here + side * across).T).astype(np.float64) for side in (-1.0, 0.0, 1.0)
            )
            curvature = 2 * middle - left - right
            peak = 0.5 * (right - left) / np.maximum(curvature, 1e-5)
            peak = np.where(curvature > 1e-5, peak, 0.5 * np.sign(right - left))
            here = here + np.clip(peak, -pull, pull)[:, None] * across
        inside = ((here > 1) & (here < (width - 2, height - 2))).all(axis=1)
        going = (np.abs(turn[:, 0]) > bend) & inside & (sample(response, *here.T) > low)
        walking, here = walking[going], here[going]
        at[walking], heading[walking] = here, ahead[going]
        path[walking, index] = here
        count[walking] += 1
        if not len(walking):
            break
    return path, count


def accept(
    traces: Traces,
    order: Sequence[int] | npt.NDArray[np.intp],
    occupied: npt.NDArray[np.uint8],
    separation: float | Plane,
    shortest: float,
) -> list[Curve]:
    """The strokes that find room, in order; each takes its longest free stretch around the seed.

    Args:
        traces: the walks.
        order: of the seeds, strongest first.
        occupied: uint8 [H, W], not 0 where no stroke may pass; accepted strokes are marked in it.
        separation: between strokes, pixels; one for all, or a plane.
        shortest: length of a stroke that is kept, pixels.
    """
    height, width = occupied.shape
    found = []
    for seed in order:
        back = traces.backward[seed, : traces.backward_steps[seed]][::-1]
        path = np.vstack([back, traces.forward[seed, 1 : traces.forward_steps[seed]]])
        cells = np.clip(np.rint(path).astype(int), 0, (width - 1, height - 1))
        free = occupied[cells[:, 1], cells[:, 0]] == 0
        start = end = len(back) - 1
        if not free[start]:
            continue
        while start > 0 and free[start - 1]:
            start -= 1
        while end < len(path) - 1 and free[end + 1]:
            end += 1
        x, y = cells[len(back) - 1]
        path = path[start : end + 1]
        if len(path) < 3 or length_of(path) < shortest:
            continue
        apart = separation if isinstance(separation, float | int) else float(separation[y, x])
        thickness = max(1, round(2 * apart))
        cv2.polylines(occupied, [np.rint(path * 4).astype(np.int32)], False, 1, thickness, cv2.LINE_8, 2)
        found.append(path)
    return found


def ridge_strokes(
    response: Plane,
    flow: Flow,
    where: Mask,
    *,
    high: float,
    low: float,
    shortest: float,
    reach: float = 160,
    separation: float | Plane = 4.0,
    smooth: float = 2.5,
    occupied: npt.NDArray[np.uint8] | None = None,
    cell: int = 4,
) -> list[Stroke]:
    """Strokes along the ridges of a response, strongest first.

    Args:
        response: high on the lines.
        flow: along them.
        where: strokes begin and stay here.
        high: response of a seed.
        low: response below which a stroke ends.
        shortest: length of a stroke, pixels.
        reach: each way, pixels.
        separation: between strokes, pixels.
        smooth: of the curves, samples.
        occupied: see `accept`.
        cell: one seed for each square of so many pixels.
    """
    seeds = find_seeds(response, flow, where, high, cell)
    if not len(seeds.places):
        return []
    within = (response * where).astype(np.float32)
    if occupied is None:
        occupied = np.zeros(response.shape, np.uint8)
    curves = accept(
        trace(flow, within, seeds.places, low, reach), range(len(seeds.places)), occupied, separation, shortest
    )
    return [Stroke(smooth_curve(curve, smooth), smoothed(sample(response, *curve.T), 3)) for curve in curves]


def _nearest(flow: Flow, places: Curve) -> Curve:
    height, width = flow.shape[:2]
    x, y = np.rint(places).astype(int).T
    return np.asarray(flow[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], np.float64)
