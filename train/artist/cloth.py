"""Clothes, hats and scarves: even areas of black or white, and a few long folds traced along the photo's own."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from train.artist import mesh
from train.artist.canvas import Box, Canvas, box_of, grown, halved, on_sheet, restored, without_specks
from train.artist.curves import taper
from train.artist.regions import Regions
from train.artist.sitter import Sitter
from train.artist.tracing import Flow, ridge_strokes
from train.npr.edge_flow import Plane, difference_across, smooth_along, soften, tangent_flow, weighted_mean
from train.npr.face_parsing import Mask

LEAST_AREA: Final = 1500
"""Pixels of cloth that are worth drawing."""
DARKEST: Final = 0.30
"""Cloth with a part darker than this (lightness 0 to 1) has black parts."""
LIGHTEST_BLACK: Final = 0.42
"""Cloth lighter than this is never black."""
DARK_HEADWEAR: Final = 0.34
"""Headwear of a lower median lightness is black as a whole, other headwear white."""
FAR_APART: Final = 0.30
"""Two tones of headwear that differ by more are drawn both."""
APART: Final = 0.12
"""Two tones of one cloth differ by at least this."""


@dataclass(frozen=True)
class _Weave:
    """Cloth in its box: lightness and its folds, smoothed along them."""

    mask: Plane
    box: Box
    flow: Flow
    light: Plane
    folds: Plane


def draw_cloth(sitter: Sitter, regions: Regions, canvas: Canvas) -> None:
    """Draws what the person wears."""
    weave = _weave(sitter, regions)
    if weave is None:
        return
    worn = weave.mask > 0.5
    end = int(sitter.at(mesh.NOSE_BASE)[1]) - weave.box.top
    black = _black(weave, worn, end if regions.headwear else 0)
    canvas.ink[weave.box.sheet_window][black] = 255
    small = cv2.resize(black.astype(np.uint8), worn.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    inner = grown(worn, -3)
    shapes = (
        (-weave.folds, inner & ~grown(small, 4), 0.03, 0.012, 70, 16, (0.7, 1.6), False),
        (weave.folds, inner & grown(small, -4), 0.05, 0.02, 80, 22, (0.6, 1.3), True),
    )
    for response, where, high, low, shortest, apart, widths, erase in shapes:
        strokes = ridge_strokes(
            np.ascontiguousarray(response),
            weave.flow,
            where,
            high=high,
            low=low,
            shortest=shortest,
            reach=200,
            separation=apart,
            smooth=4,
        )
        for stroke in strokes:
            width = np.interp(stroke.response, (low, 3 * high), widths) * taper(len(stroke.curve), 0.35, 0.35, 0.12)
            canvas.stroke(stroke.curve + weave.box.corner, width, erase=erase)


def _weave(sitter: Sitter, regions: Regions) -> _Weave | None:
    mask = regions.cloth
    box = box_of(mask > 0.5, 16)
    if box is None or (mask > 0.5).sum() < LEAST_AREA:
        return None
    window = box.window
    # At the person's rim the photo mixes with the background: tones are carried there from inside.
    solid = grown(sitter.person, -5)[window].astype(np.float32)
    light = np.where(solid > 0, sitter.light[window], weighted_mean(sitter.light[window], solid, 5)).astype(np.float32)
    light = np.asarray(cv2.bilateralFilter(halved(light), 5, 0.08, 2.5), np.float32)
    flow = tangent_flow(soften(light, 1), 3)
    folds = difference_across(light, flow, 1.25)
    smooth = smooth_along(np.dstack([light, folds]), flow, 4)
    light, folds = (restored(np.ascontiguousarray(smooth[..., k]), solid.shape) for k in (0, 1))
    return _Weave(mask[window], box, restored(flow, solid.shape, cv2.INTER_NEAREST), light, folds)


def _black(weave: _Weave, worn: Mask, headwear_end: int) -> Mask:
    """Where the cloth is black, at the sheet's scale: whole areas, without specks.

    What reaches above row `headwear_end` is worn on the head.
    """
    level = np.where(worn, weave.light + weave.folds - _threshold(weave.light[worn]), np.float32(1))
    if headwear_end > 0:
        # Hats and scarves are even, for light and shade would tear them, unless they have a band or a pattern.
        _, parts = cv2.connectedComponents(worn.astype(np.uint8))
        for part in np.unique(parts[:headwear_end][worn[:headwear_end]]):
            one = parts == part
            dark, light = _two_tones(weave.light[one])
            if light - dark > FAR_APART and dark < DARKEST:
                level[one] = weave.light[one] - (dark + light) / 2
            else:
                level[one] = float(np.median(weave.light[one])) - DARK_HEADWEAR
    black = without_specks(on_sheet(soften(level.astype(np.float32), 2.5)) < 0, 12000)
    return ~without_specks(~black, 8000)


def _threshold(values: Plane) -> float:
    """Between the cloth's two tones (two means); one tone is black or white as a whole."""
    low, high = _two_tones(values)
    if high - low < APART:
        return LIGHTEST_BLACK if float(np.median(values)) < DARKEST else 0.15
    return min((low + high) / 2, LIGHTEST_BLACK) if low < DARKEST else 0.15


def _two_tones(values: Plane) -> tuple[float, float]:
    """Mean lightness of the darker and of the lighter part (two means)."""
    low, high = (float(value) for value in np.percentile(values, (10, 90)))
    for _ in range(8):
        dark = values <= (low + high) / 2
        low = float(values[dark].mean()) if dark.any() else low
        high = float(values[~dark].mean()) if not dark.all() else high
    return low, high
