"""What the photo's tones say about a line: dark spots that are filled, and how far a line is darker than both sides."""

import cv2
import numpy as np

from train.artist.canvas import Box, halved, restored
from train.artist.curves import Curve, Floats, normals, sample_on, smoothed
from train.artist.tracing import Flow
from train.npr.edge_flow import Plane, smooth_along, soften, tangent_flow
from train.npr.face_parsing import Mask

ONE_SIDED = 0.25
"""How much the larger step counts beside the smaller one: a fold has two sides, the rim of a shadow has one."""


def dark_level(darkness: Plane, zone: Mask, box: Box, least: float, blur: float = 1.0) -> Plane:
    """A level for `Canvas.fill`: above 0 where a zone is darker than `least`, float32 of the box's size.

    Args:
        darkness: [1024, 1024].
        zone: [1024, 1024]; nothing is filled outside.
        box: around the zone.
        least: darkness.
        blur: of the darkness, pixels.
    """
    calm = soften(np.ascontiguousarray(darkness[box.window]), blur)
    level = np.where(zone[box.window], calm - np.float32(least), np.float32(-0.3))
    return soften(level.astype(np.float32), 0.7)


def depth_along(darkness: Plane, curve: Curve, aside: float) -> Floats:
    """How much darker a curve is than what lies `aside` pixels to both sides of it, float64 [N].

    The smaller of the two steps, and a quarter of the larger one; the rim of a cast shadow has one step only.
    """
    across = normals(curve) * aside
    middle = sample_on(darkness, curve)
    steps = np.stack([middle - sample_on(darkness, curve + side * across) for side in (-1, 1)])
    return smoothed(steps.min(axis=0) + ONE_SIDED * np.maximum(steps.max(axis=0), 0), 3.0)


def folds(darkness: Plane, flow_sigma: float, aside: float, along: float) -> tuple[Plane, Flow]:
    """Where a plane is darker than both sides across its own flow, and that flow; measured at half size.

    Args:
        darkness: any part of a portrait, [H, W].
        flow_sigma: of the structure tensor, pixels.
        aside: distance of the sides, pixels.
        along: mean along the flow, pixels.
    """
    shape, darkness, aside = darkness.shape, halved(darkness), aside / 2
    flow = tangent_flow(soften(darkness, 0.75), flow_sigma / 2)
    calm = smooth_along(soften(darkness, 0.5), flow, along / 2)
    y, x = np.mgrid[0 : darkness.shape[0], 0 : darkness.shape[1]].astype(np.float32)
    steps = [
        calm
        - cv2.remap(
            calm,
            x - np.float32(side * aside) * flow[..., 1],
            y + np.float32(side * aside) * flow[..., 0],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for side in (-1, 1)
    ]
    depth = np.minimum(*steps) + ONE_SIDED * np.clip(np.maximum(*steps), 0, None)
    return restored(depth.astype(np.float32), shape), restored(flow, shape, cv2.INTER_NEAREST)
