"""Strokes that the photo itself seeds: streamlines of a flow along the ridges of a response.

Many seeds walk at once, both ways, the strongest first; strokes are kept as far as they lie apart from each other.
Planes may be parts of a portrait; places are pixels of theirs.
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
BATCH = 800
"""Seeds that walk at once."""


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
    x, y = places.astype(np.float32).T
    along_x, along_y = np.float32(sense) * _nearest(flow, x, y).T
    count = np.ones(len(places), np.intp)
    walking = np.arange(len(places))  # those that have not ended
    path = np.repeat(places[:, None].astype(np.float64), steps + 1, axis=1)
    sides = np.array([[-1], [0], [1]], np.float32)
    for index in range(1, steps + 1):
        ahead_x, ahead_y = _nearest(flow, x, y).T
        turn = ahead_x * along_x + ahead_y * along_y
        sign = np.copysign(np.float32(1), turn)
        along_x, along_y = along_x + sign * ahead_x, along_y + sign * ahead_y
        length = np.sqrt(along_x**2 + along_y**2) + np.float32(1e-9)
        along_x, along_y = along_x / length, along_y / length
        x, y = x + np.float32(step) * along_x, y + np.float32(step) * along_y
        left, middle, right = sample(response, x - sides * along_y, y + sides * along_x)
        if pull:
            curvature = 2 * middle - left - right
            rise = 0.5 * (right - left)
            peak = np.where(curvature > 1e-5, rise / np.maximum(curvature, np.float32(1e-5)), np.sign(rise) / 2)
            peak = np.clip(peak, -pull, pull).astype(np.float32)
            x, y = x - peak * along_y, y + peak * along_x
        going = (np.abs(turn) > bend) & (middle > low)
        going &= (x > 1) & (y > 1) & (x < width - 2) & (y < height - 2)
        if not going.all():
            walking, x, y, along_x, along_y = (values[going] for values in (walking, x, y, along_x, along_y))
        if not len(walking):
            break
        path[walking, index, 0], path[walking, index, 1] = x, y
        count[walking] += 1
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
    seeds = np.clip(np.rint(traces.forward[:, 0]).astype(int), 0, (width - 1, height - 1))
    for seed in order:
        x, y = seeds[seed]
        if occupied[y, x]:
            continue
        back = traces.backward[seed, : traces.backward_steps[seed]][::-1]
        path = np.vstack([back, traces.forward[seed, 1 : traces.forward_steps[seed]]])
        cells = np.clip(np.rint(path).astype(int), 0, (width - 1, height - 1))
        free = occupied[cells[:, 1], cells[:, 0]] == 0
        start = end = len(back) - 1
        while start > 0 and free[start - 1]:
            start -= 1
        while end < len(path) - 1 and free[end + 1]:
            end += 1
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
    curves = []
    for start in range(0, len(seeds.places), BATCH):
        places = seeds.places[start : start + BATCH]
        x, y = places.astype(int).T
        places = places[occupied[y, x] == 0]  # what strokes before took is not walked again
        if len(places):
            walks = trace(flow, within, places, low, reach)
            curves += accept(walks, range(len(places)), occupied, separation, shortest)
    return [Stroke(smooth_curve(curve, smooth), smoothed(sample(response, *curve.T), 3)) for curve in curves]


def _nearest(flow: Flow, x: Plane, y: Plane) -> Flow:
    """The flow of the pixels nearest to places, [S, 2]."""
    height, width = flow.shape[:2]
    columns, rows = (np.rint(values).astype(np.intp) for values in (x, y))
    return np.asarray(flow[rows.clip(0, height - 1), columns.clip(0, width - 1)], np.float32)
