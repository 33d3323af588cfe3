"""Flow-guided lines: filters that run across and along the edges of a picture (coherent lines, as in the paper's [27]).

The structure tensor gives every pixel the direction of the edge it lies on. A difference of Gaussians taken across that
direction answers to strokes and edges; smoothed along it, its answers join into lines and noise averages out. Width and
length may differ from pixel to pixel, so that each region of a face gets strokes of its own.
"""

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
"""float32 [H, W]."""

RATIO = 1.6
"""Outer over inner Gaussian: near the Laplacian of Gaussian."""


def tangent_flow(tone: Plane, sigma: float) -> npt.NDArray[np.float32]:
    """Unit vectors along the edges, [H, W, 2] (x, y): the structure tensor's minor direction.

    Args:
        tone: the picture.
        sigma: smoothing of the tensor, pixels; larger gives longer, calmer strokes.
    """
    dx = cv2.Sobel(tone, cv2.CV_32F, 1, 0, ksize=3)
    dy = cv2.Sobel(tone, cv2.CV_32F, 0, 1, ksize=3)
    xx, xy, yy = (soften(plane, sigma) for plane in (dx * dx, dx * dy, dy * dy))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.float32(np.pi / 2)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)


def difference_across(tone: Plane, flow: npt.NDArray[np.float32], sigma: Plane | float) -> Plane:
    """Difference of Gaussians across the flow; negative on dark strokes and on the dark side of an edge.

    Args:
        tone: the picture.
        flow: unit vectors along the edges.
        sigma: inner Gaussian, pixels, one for all or one for each pixel; strokes about 2.5 times as wide answer most.
    """
    step = 0.6  # in units of sigma: fine enough for strokes of a pixel or two
    offsets = np.arange(-6, 7, dtype=np.float32) * np.float32(step)
    inner, outer = np.exp(-0.5 * offsets**2), np.exp(-0.5 * (offsets / RATIO) ** 2)
    weights = inner / inner.sum() - outer / outer.sum()
    x, y = _grid(tone.shape)
    across_x, across_y = -flow[..., 1] * sigma, flow[..., 0] * sigma
    total = np.zeros_like(tone)
    for offset, weight in zip(offsets, weights, strict=True):
        total += weight * _sample(tone, x + offset * across_x, y + offset * across_y)
    return total


def smooth_along(
    planes: npt.NDArray[np.float32], flow: npt.NDArray[np.float32], sigma: float, step: float = 1.0
) -> npt.NDArray[np.float32]:
    """Gaussian mean along the flow's streamlines (a line integral convolution).

    Args:
        planes: [H, W] or [H, W, C], C at most 4.
        flow: unit vectors along the edges.
        sigma: standard deviation of the Gaussian, pixels.
        step: length of a step along the flow, pixels.
    """
    x, y = _grid(planes.shape)
    total, norm = planes.copy(), 1.0
    for sign in (1, -1):
        px, py = x, y
        vx, vy = np.float32(sign * step) * flow[..., 0], np.float32(sign * step) * flow[..., 1]
        for count in range(1, int(2 * sigma / step) + 1):
            px, py = px + vx, py + vy
            weight = float(np.exp(-0.5 * (count * step / sigma) ** 2))
            total += np.float32(weight) * _sample(planes, px, py)
            norm += weight
            found = _sample(flow, px, py, cv2.INTER_NEAREST)
            nx, ny = found[..., 0], found[..., 1]
            # The flow has no sign: keep walking the way we came.
            turn = np.copysign(np.float32(step), nx * vx + ny * vy)
            vx, vy = turn * nx, turn * ny
    return np.asarray(total / np.float32(norm), np.float32)


def ridges(response: Plane, flow: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Where a response is highest across the flow: the middle of every stroke, 1 to 2 pixels wide."""
    x, y = _grid(response.shape)
    beside = [_sample(response, x - side * flow[..., 1], y + side * flow[..., 0]) for side in (-1, 1)]
    return np.asarray((response > 0) & (response >= np.maximum(*beside)))


def confident(
    lines: npt.NDArray[np.bool_], strength: Plane, high: float, low: float, length: float
) -> npt.NDArray[np.bool_]:
    """Lines that are strong somewhere, at least `low` everywhere, and long enough (hysteresis).

    Args:
        lines: line pixels.
        strength: strength of each pixel.
        high: a line must reach this on a third of `length`.
        low: strength under which a line ends.
        length: length of the shortest line kept, pixels.
    """
    count, components = cv2.connectedComponents((lines & (strength > low)).astype(np.uint8), connectivity=8)
    size = np.bincount(components.ravel(), minlength=count)
    strong = np.bincount(components.ravel(), weights=(strength > high).ravel(), minlength=count)
    keep = (size >= length) & (strong >= length / 3)
    keep[0] = False
    return np.asarray(keep[components])


def soften(plane: Plane, sigma: float) -> Plane:
    """Gaussian blur."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def weighted_mean(plane: Plane, weight: Plane, sigma: float) -> Plane:
    """Gaussian mean of what has weight, 0 to 1; computed on a coarser grid where the Gaussian is wide."""
    shrink = max(1, int(sigma / 4))
    size = (plane.shape[1], plane.shape[0])
    weight = weight + np.float32(1e-4)
    planes = np.stack([plane * weight, weight], axis=-1)
    if shrink > 1:
        planes = cv2.resize(planes, (size[0] // shrink, size[1] // shrink), interpolation=cv2.INTER_AREA)
    planes = cv2.GaussianBlur(planes, (0, 0), sigma / shrink)
    mean = planes[..., 0] / planes[..., 1]
    return np.asarray(cv2.resize(mean, size, interpolation=cv2.INTER_LINEAR) if shrink > 1 else mean, np.float32)


def _grid(shape: tuple[int, ...]) -> tuple[Plane, Plane]:
    x, y = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
    return x, y


def _sample(
    planes: npt.NDArray[np.float32], x: Plane, y: Plane, method: int = cv2.INTER_LINEAR
) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.remap(planes, x, y, method, borderMode=cv2.BORDER_REPLICATE), np.float32)
