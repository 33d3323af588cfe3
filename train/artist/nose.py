"""The nose: two wings, nostrils as dark as the photo has them, its underside, and its bridge where light shows it."""

from dataclasses import dataclass

import cv2
import numpy as np

from train.artist import mesh
from train.artist.canvas import Canvas, box_around, grown, on_sheet, polygon_mask
from train.artist.curves import sample_on, smoothed, snap, spline, strong_runs, taper
from train.artist.sitter import Sitter
from train.artist.tones import dark_level, depth_along


@dataclass(frozen=True)
class Nose:
    """What was drawn.

    Attributes:
        quality: how clearly the photo shows the wings, 0 to 1.
    """

    quality: float


def draw_nose(sitter: Sitter, canvas: Canvas) -> Nose:
    """Draws the nose."""
    strength = [_draw_wing(sitter, side, canvas) for side in (0, 1)]
    for side in (0, 1):
        _draw_nostril(sitter, side, canvas)
    curve, clear = snap(sitter.tone, spline(sitter.at(mesh.NOSE_UNDERSIDE)), 9, sigma=2, smooth=4)
    for start, end in strong_runs(clear, 0.022, 0.009, 12):
        width = np.clip(0.7 + 5 * clear[start:end], 0.8, 1.5)
        canvas.stroke(curve[start:end], width * taper(end - start, 0.4, 0.4, 0.15))
    _draw_bridge(sitter, canvas)
    return Nose(float(np.clip(max(strength) / 0.05, 0, 1)))


def _draw_wing(sitter: Sitter, side: int, canvas: Canvas) -> float:
    """Always drawn along its middle; its ends only as far as the photo has them."""
    curve, strength = snap(sitter.tone, spline(sitter.at(mesh.NOSE_WINGS[side])), 9, sigma=1.8, smooth=4)
    clear = smoothed(strength, 4)
    start, end = int(0.12 * len(curve)), int(0.78 * len(curve))
    usual = float(np.median(clear[start:end]))
    while start > 0 and clear[start - 1] > 0.012:
        start -= 1
    while end < len(curve) - 1 and clear[end + 1] > 0.012:
        end += 1
    darkness = smoothed(np.clip(sample_on(sitter.darkness, curve), 0, 1), 5)
    width = np.clip(1.15 + 7 * np.maximum(clear, 0) + 0.6 * darkness, 1.35, 2.6)
    canvas.stroke(curve[start:end], width[start:end] * taper(end - start, 0.35, 0.3, 0.15))
    return usual


def _draw_nostril(sitter: Sitter, side: int, canvas: Canvas) -> None:
    outline = sitter.at(mesh.NOSTRILS[side])
    middle = outline.mean(axis=0)
    zone = grown(polygon_mask(middle + 1.15 * (outline - middle)), 2)
    values = sitter.darkness[zone]
    if values.size < 20:
        return
    dark, usual = np.percentile(values, (96, 25))
    if dark > 0.3:
        box = box_around(outline, 10)
        level = dark_level(sitter.darkness, zone, box, max(0.55 * float(dark) + 0.45 * float(usual), 0.26))
        ink = (on_sheet(level) > 0).astype(np.uint8)
        _, parts, stats, _ = cv2.connectedComponentsWithStats(ink)
        if len(stats) > 1:
            largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            if stats[largest, cv2.CC_STAT_AREA] > 60:
                canvas.ink[box.sheet_window][parts == largest] = 255
    curve, strength = snap(sitter.tone, spline(outline[:5]), 5, sigma=1.5)
    width = np.clip(0.6 + 4 * np.maximum(smoothed(strength, 3), 0), 0.7, 1.5)
    canvas.stroke(curve, width * taper(len(curve), 0.4, 0.4, 0.1))


def _draw_bridge(sitter: Sitter, canvas: Canvas) -> None:
    """Thin lines along the sides of the bridge: the clearer one, and the other one only where it is a fold."""
    found = []
    for side in (0, 1):
        guess = spline(sitter.at(mesh.NOSE_BRIDGES[side]))
        curve, strength = snap(sitter.tone, guess, 11, feature="edge", sigma=2.6, smooth=6)
        found.append((float(np.percentile(strength, 60)), curve, strength))
    found.sort(key=lambda item: -item[0])
    for rank, (_, curve, strength) in enumerate(found):
        clear = strength if rank == 0 else np.minimum(strength, 1.4 * depth_along(sitter.darkness, curve, 6))
        for start, end in strong_runs(clear, 0.038, 0.02, 24)[:1]:
            width = np.clip(0.6 + 6 * clear[start:end], 0.8, 1.5)
            canvas.stroke(curve[start:end], width * taper(end - start, 0.4, 0.5, 0.12))
