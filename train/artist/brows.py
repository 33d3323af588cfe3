"""Brows: a dark band snapped to the photo, drawn as hairs along their growth, of one density along the brow."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.artist import mesh
from train.artist.canvas import Box, Canvas, box_around, grown, polygon_mask
from train.artist.curves import ACROSS, Curve, Floats, smoothed, snap, spline, strip, tangents, taper
from train.artist.eyes import eye_masks
from train.artist.sitter import Cover, Sitter
from train.artist.tracing import Flow, ridge_strokes
from train.npr.edge_flow import difference_across, smooth_along, soften, tangent_flow

FAINT = 0.1
"""Brows that are hardly darker than skin are drawn by their hairs alone."""


@dataclass(frozen=True)
class Brow:
    """What was drawn.

    Attributes:
        quality: darkness of the brow over the skin beside it, 0 to 1; 0 where none was drawn.
    """

    quality: float


def draw_brow(sitter: Sitter, side: int, cover: Cover, canvas: Canvas) -> Brow:
    """Draws the brow on the image's left (0) or right (1)."""
    axis, upper, lower, peak = _find_band(sitter, side)
    outline = np.vstack([axis + upper, (axis + lower)[::-1]])
    box = box_around(outline, 12)
    free = 1 - np.clip(2 * (cover.hair[box.window] - 0.3), 0, 1)
    band = soften(polygon_mask(outline)[box.window].astype(np.float32), 2.5)
    eyes = np.any([mask[box.window] for mask in eye_masks(sitter)], axis=0)
    band = band * (1 - grown(eyes, 4)).astype(np.float32)
    darkness = np.ascontiguousarray(sitter.darkness[box.window])
    inside, rim = band > 0.5, (band > 0.02) & (band < 0.3)
    if inside.sum() < 50:
        return Brow(0.0)
    skin = float(np.clip(np.percentile(darkness[rim], 40) if rim.sum() > 30 else 0, 0, 0.3))
    strong = max(float(np.percentile(darkness[inside], 88)), skin + 0.18)
    growth, place = _growth(axis, box, side, sitter)
    # Against the peak at the same place along the brow: hairs as dense at its fair end as at its dark one.
    top = np.maximum(0.9 * smoothed(peak, 14)[place] + 0.1 * strong, max(skin + 0.14, 0.38 * strong))
    share = np.clip((darkness - skin) / (top - skin), 0, 1.3) * np.clip(1.6 * band, 0, 1) * free
    share = share.astype(np.float32)
    even = smooth_along(share, growth, 5.0)
    hairs = smooth_along(difference_across(share, growth, 1.3), growth, 4.0)  # negative on dark hairs
    texture = hairs / max(float(np.abs(hairs[inside]).mean()), 0.01)
    level = even - 0.16 * texture
    # The darker the brow, the more of it is solid; one rule for the whole brow.
    body = float(np.median(darkness[inside])) - skin
    black = float(np.interp(body, (FAINT, 0.2, 0.35, 0.6), (0.0, 0.32, 0.56, 0.70)))
    least = max(float(np.quantile(level[inside], 1 - black)), 0.45)
    canvas.fill(np.where(band > 0.02, level - least, -1).astype(np.float32), box)
    weight = float(np.interp(strong, (0.25, 0.8), (0.65, 0.95)))
    # White hairs on skin are lines too.
    dark = np.abs(texture) if body < FAINT else -texture
    shown = band > 0.35 if body < FAINT else (even > 0.2) & (band > 0.1)
    for lines, where, least, erase in ((texture, band > 0.5, 0.9, True), (dark, shown, 0.4, False)):
        strokes = ridge_strokes(
            lines.astype(np.float32),
            growth,
            where,
            high=least,
            low=0.1,
            shortest=10,
            reach=22,
            separation=4.0 if erase else 2.4,
            smooth=1.5,
            cell=2,
        )
        for stroke in strokes:
            width = 0.5 if erase else weight + 0.25 * float(np.clip(stroke.response.mean() - 0.5, 0, 2))
            shape = taper(len(stroke.curve), 0.35, 0.6, 0.12)
            canvas.stroke(stroke.curve + box.corner, width * shape, erase)
    return Brow(float(np.clip((strong - skin) / 0.5, 0, 1)))


def _find_band(sitter: Sitter, side: int) -> tuple[Curve, Curve, Curve, Floats]:
    """The brow's axis from its outer end to the nose, offsets to its rims, and the darkness of its middle.

    The mesh's brow often lies too high: the axis is snapped to the dark band.
    """
    axis = spline((sitter.at(mesh.BROW_TOPS[side]) + sitter.at(mesh.BROW_BOTTOMS[side])) / 2)
    axis = np.vstack([axis[0] + (axis[0] - axis[6]) * np.linspace(1.6, 0.2, 6)[:, None], axis])
    axis, _ = snap(sitter.tone, axis, 16, sigma=4.5, along=6, prior=0.06, stiff=0.01, smooth=6)
    distance = sitter.eye_distance
    values, offsets, across = strip(sitter.darkness, axis, 0.12 * distance)
    values = smoothed(smoothed(values, 3), 3, axis=1)
    middle = len(offsets) // 2
    peak = smoothed(values[:, middle - 6 : middle + 7].max(axis=1), 10)
    swell = np.interp(np.linspace(0, 1, len(axis)), [0, 0.25, 0.8, 1], [0.45, 1, 1.1, 0.95])
    rims = []
    for step in (-1, 1):
        outwards = values[:, middle::step]
        base = np.percentile(outwards, 15, axis=1)
        ended = outwards < (base + 0.42 * (peak - base))[:, None]
        half = np.where(ended.any(axis=1), ended.argmax(axis=1) * ACROSS, 0.055 * distance)
        half = smoothed(np.clip(1.15 * half, 0.026 * distance, 0.07 * distance), 9)
        rims.append(across * (step * 1.05 * half * swell)[:, None])
    return axis, rims[0], rims[1], peak


def _growth(axis: Curve, box: Box, side: int, sitter: Sitter) -> tuple[Flow, npt.NDArray[np.intp]]:
    """Directions of the hairs in a box, and the axis' sample nearest to each pixel.

    Hairs grow outwards along the axis, and upwards the more the nearer they are to the nose; a quarter is the photo's
    own flow.
    """
    y, x = np.mgrid[box.top : box.bottom, box.left : box.right].astype(np.float64)
    knots = axis[:: max(1, len(axis) // 48)]
    apart = (x[..., None] - knots[:, 0]) ** 2 + (y[..., None] - knots[:, 1]) ** 2
    nearest = np.minimum(apart.argmin(axis=-1) * max(1, len(axis) // 48), len(axis) - 1)
    along = -tangents(axis)[nearest]
    up = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    up *= np.where(up[..., 1:] > 0, -1, 1)
    tilt = np.deg2rad(np.interp(nearest / (len(axis) - 1), [0, 0.5, 0.8, 1], [3, 8, 18, 36]))
    tilt = np.where(axis[nearest, 1] < y, tilt, 0.35 * tilt - np.deg2rad(8))[..., None]
    growth = along * np.cos(tilt) + up * np.sin(tilt)
    photo = tangent_flow(np.ascontiguousarray(sitter.light[box.window]), 2.5)
    photo = photo * np.sign((photo * growth).sum(axis=-1, keepdims=True))
    growth = 0.75 * growth + 0.25 * photo
    growth /= np.linalg.norm(growth, axis=-1, keepdims=True) + 1e-6
    return growth.astype(np.float32), nearest
