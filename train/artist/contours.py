"""The jaw, the folds that make an expression, wrinkles, ears and the neck's lines: few, tapered, only what is there."""

from dataclasses import dataclass

import cv2
import numpy as np

from train.artist import mesh
from train.artist.canvas import SIDE, Canvas, box_of, grown, polygon_mask
from train.artist.curves import (
    Curve,
    length_of,
    normals_away,
    runs,
    sample_on,
    smoothed,
    snap,
    spline,
    strong_runs,
    taper,
)
from train.artist.sitter import Cover, Sitter
from train.artist.tones import depth_along, folds
from train.artist.tracing import ridge_strokes
from train.npr.face_parsing import Mask

DARK_HAIR = 0.75
"""Hair darker than this, over the face's lightness, is its own border: no jaw line beside it."""


@dataclass(frozen=True)
class Jaw:
    """What was drawn.

    Attributes:
        curve: from temple to temple, [N, 2].
        quality: how clearly the photo shows it where it was drawn, 0 to 1.
    """

    curve: Curve
    quality: float


def draw_jaw(sitter: Sitter, cover: Cover, canvas: Canvas) -> Jaw:
    """Draws the jaw where neither hair nor beard hides it."""
    guess = spline(sitter.at(mesh.JAW), sigma=8)
    tones = (sitter.light / np.float32(sitter.contrast)).astype(np.float32)
    curve, strength = snap(tones, guess, 12, feature="edge", sigma=2, along=5, prior=0.05, smooth=8)
    at = np.linspace(0, 1, len(curve))
    outside = curve + 6 * normals_away(curve, sitter.at(mesh.OVAL).mean(axis=0))
    hidden = (sample_on(cover.hair, curve) >= 0.35) | (sample_on(cover.beard, curve) >= 0.5)
    if cover.hair_light < DARK_HAIR:
        hidden |= sample_on(cover.hair, outside) >= 0.5
    shown = smoothed(1.0 - hidden, 3) > 0.5
    weight = np.clip(0.75 + 1.1 * smoothed(strength, 10), 0.8, 1.2)
    for start, end in runs(shown):
        if end - start < 20:
            continue
        middle = 1 - 2 * np.abs(at[start:end] - 0.5)
        canvas.stroke(curve[start:end], (2.6 + 1.1 * middle) * weight[start:end] * taper(end - start, 0.22, 0.22, 0.2))
    return Jaw(curve, float(np.clip(np.median(strength[shown]) / 0.12, 0, 1)) if shown.any() else 0.0)


def draw_folds(sitter: Sitter, cover: Cover, canvas: Canvas) -> None:
    """Draws the smile's folds and the fold under the lower lip, where the photo shows them."""
    for group in mesh.SMILE_FOLDS:
        guess = spline(sitter.at(group))
        curve, strength = snap(sitter.tone, guess, 18, sigma=3.2, along=5, prior=0.02, smooth=6)
        clear = np.minimum(strength, 0.4 * strength + depth_along(sitter.darkness, curve, 9))
        clear = np.where(sample_on(cover.beard, curve) < 0.4, clear, 0)
        for start, end in strong_runs(clear, 0.034, 0.014, 26)[:2]:
            width = np.clip(0.7 + 7 * clear[start:end], 0.9, 1.8)
            canvas.stroke(curve[start:end], width * taper(end - start, 0.4, 0.5, 0.12))
    curve, strength = snap(sitter.tone, spline(sitter.at(mesh.CHIN_FOLD)), 9, sigma=3, along=4, prior=0.02, smooth=6)
    strength = np.where(sample_on(cover.beard, curve) < 0.4, strength, 0)
    for start, end in strong_runs(strength, 0.04, 0.02, 14)[:1]:
        width = np.clip(0.5 + 5 * strength[start:end], 0.7, 1.3)
        canvas.stroke(curve[start:end], width * taper(end - start, 0.4, 0.4, 0.12))


def draw_skin_lines(sitter: Sitter, cover: Cover, canvas: Canvas) -> None:
    """Draws wrinkles, frowns and crow's feet in the face, and the lines of ears and neck.

    The clearest come first, and only so many eye distances of line are drawn in each region.
    """
    skin = (cover.skin > 0.6) & (cover.hair < 0.3) & (cover.beard < 0.3) & sitter.inside
    face = skin & sitter.oval & ~_features(sitter)
    box = box_of(skin, 8)
    if box is None:
        return
    depth, flow = folds(np.ascontiguousarray(sitter.darkness[box.window]), 4.0, 4.5, 8.0)
    occupied = np.zeros(depth.shape, np.uint8)
    around = skin & ~grown(sitter.oval, 4)
    ears = around & _beside_face(sitter)
    for where, high, low, shortest, widths, most in (
        (ears, 0.085, 0.035, 24, (0.7, 1.7), 4.0),
        (around & ~ears, 0.11, 0.045, 60, (0.6, 1.4), 2.0),
        (face, 0.095, 0.036, 42, (0.65, 1.45), 5.0),
    ):
        strokes = ridge_strokes(
            depth,
            flow,
            where[box.window],
            high=high,
            low=low,
            shortest=shortest,
            reach=80,
            separation=6,
            smooth=3,
            occupied=occupied,
        )
        left = most * sitter.eye_distance
        for stroke in sorted(strokes, key=lambda stroke: -float(np.clip(stroke.response, 0, None).sum())):
            left -= length_of(stroke.curve)
            if left < 0:
                break
            width = np.interp(stroke.response, [low, 3 * high], widths)
            canvas.stroke(stroke.curve + box.corner, width * taper(len(stroke.curve), 0.3, 0.35, 0.12))


def _beside_face(sitter: Sitter) -> Mask:
    """Where ears are: beside the oval, from the brows to the mouth."""
    beside = cv2.distanceTransform((~sitter.oval).astype(np.uint8), cv2.DIST_L2, 3) < 0.5 * sitter.eye_distance
    rows = np.arange(SIDE)[:, None]
    top = sitter.at(mesh.BROW_TOPS[0] + mesh.BROW_TOPS[1])[:, 1].min()
    return np.asarray(beside & (rows > top) & (rows < sitter.at(mesh.MOUTH_CORNERS)[:, 1].max()))


def _features(sitter: Sitter) -> Mask:
    """Where eyes, brows, nose, mouth, jaw and the smile's folds are drawn by their own rules."""
    marked = np.zeros((SIDE, SIDE), np.uint8)
    for side in (0, 1):
        marked |= polygon_mask(np.vstack([sitter.at(mesh.SOCKETS[side]), sitter.at(mesh.EYE_BAGS[side])[::-1]]))
        marked |= polygon_mask(np.vstack([sitter.at(mesh.BROW_TOPS[side]), sitter.at(mesh.BROW_BOTTOMS[side])[::-1]]))
        _line(marked, sitter.at(mesh.SMILE_FOLDS[side]), 26)
    for corner in mesh.MOUTH_CORNERS:
        cv2.circle(marked, np.rint(sitter.at(corner)).astype(int).tolist(), int(0.13 * sitter.eye_distance), 1, -1)
    marked |= polygon_mask(sitter.at(mesh.LIPS))
    marked |= polygon_mask(sitter.at((122, *mesh.NOSE, 351)))
    mask = grown(marked > 0, 7).astype(np.uint8)
    _line(mask, sitter.at(mesh.JAW), 34)
    return mask > 0


def _line(mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], curve: Curve, thickness: int) -> None:
    cv2.polylines(mask, [np.rint(curve).astype(np.int32)], False, 1, thickness)
