"""Hair as black ground with white strands, or black strands where it is light, along the flow that the photo shows.

A structure tensor gives the flow; line integral convolution along it turns tones into streaks. The ground is where the
streaks are darker than a level that depends on how light the hair is; strands follow the photo's own ridges, and loose
ends grow from the border where a ridge meets it.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from train.artist import mesh
from train.artist.canvas import Box, Canvas, box_of, grown, on_sheet, polygon_mask, without_specks
from train.artist.curves import Curve, Floats, sample_on, smoothed, taper
from train.artist.regions import Regions, place_of, ramp
from train.artist.sitter import Sitter
from train.artist.tracing import Flow, ridge_strokes
from train.npr.edge_flow import Plane, difference_across, smooth_along, soften, weighted_mean
from train.npr.face_parsing import Mask

LEAST_AREA: Final = 2500
"""Pixels of hair that are worth drawing."""
LIGHTNESS: Final = (0.20, 0.40, 0.55, 0.75, 1.0)
"""Hair's lightness over the face's ..."""
BLACK: Final = (0.88, 0.72, 0.38, 0.13, 0.04)
"""... and the share of it that is black."""
DARK: Final = ((0.14, 0.26, 0.36, 0.46), (0.86, 0.72, 0.45, 0.0))
"""The same by the hair's own lightness, for dark skin; the larger share counts."""


COLOURED: Final = (10, 28)
"""Median chroma (Lab) of brown hair, and of red hair that is drawn with many white strands."""
RUN_OUT: Final = 36
"""Pixels over which hair that the photo's rim cuts runs out."""


@dataclass(frozen=True)
class Hair:
    """A head of hair.

    Attributes:
        mask: float32 [1024, 1024], 0 to 1.
        box: around it; the other planes cover it alone.
        flow: float32 [H, W, 2], along the strands.
        streaks: float32 [H, W], lightness smoothed along the flow, 0 the hair's darkest to 1.
        strands: float32 [H, W], above 0 on light strands, below on dark ones, in units of their usual height.
        light: median lightness over that of the face.
        black: share that is drawn black.
    """

    mask: Plane
    box: Box
    flow: Flow
    streaks: Plane
    strands: Plane
    light: float
    black: float


def find_hair(sitter: Sitter, regions: Regions) -> Hair | None:
    """Measures a sitter's hair, None where there is too little."""
    mask = _hair_mask(sitter, regions)
    box = box_of(mask > 0.05, 24)
    if box is None or (mask > 0.5).sum() < LEAST_AREA:
        return None
    within, tone = mask[box.window], np.ascontiguousarray(sitter.light[box.window])
    sure = within > 0.6
    low, high = np.percentile(tone[sure], (3, 97))
    tone = np.clip((tone - low) / max(high - low, 0.16), -0.3, 1.3).astype(np.float32)
    flow = flow_of(tone, within)
    tone = (within * tone + (1 - within) * weighted_mean(tone, within, 6)).astype(np.float32)
    across = difference_across(tone, flow, 1.5)
    streaks, fine = np.moveaxis(smooth_along(np.dstack([tone, across]), flow, 9.0, 3.0), -1, 0)
    usual = np.maximum(weighted_mean(np.abs(fine), within, 30), 0.010)
    face = float(np.median(sitter.skin_light[sitter.face])) if sitter.face.any() else 0.6
    own = float(np.percentile(sitter.light[box.window][sure], 45))
    light = own / max(face, 0.35)
    black = max(float(np.interp(light, LIGHTNESS, BLACK)), float(np.interp(own, *DARK)))
    colour = np.median(sitter.lab[box.window][sure][:, 1:], axis=0) - 128
    black *= 1 - 0.45 * float(ramp(np.hypot(*colour), *COLOURED))
    strands = np.clip(fine / usual, -4, 4).astype(np.float32)
    return Hair(mask, box, flow, np.ascontiguousarray(streaks), strands, light, black)


def draw_hair(hair: Hair, canvas: Canvas) -> float:
    """Draws ground, strands and loose ends; returns how much the photo shows of strands, 0 to 1."""
    within, box = hair.mask[hair.box.window], hair.box
    middle = weighted_mean(hair.streaks, within, 22)
    ground = _ground(hair, middle)
    canvas.ink[box.sheet_window][ground] = 255
    small = cv2.resize(ground.astype(np.uint8), within.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    white = _draw_white(hair, middle, small, canvas)
    black = _draw_black(hair, within, small, canvas)
    _draw_loose_ends(hair, small, canvas)
    area = float((within > 0.5).sum())
    return float(np.clip((white + black) * 1000 / area / 1.5, 0, 1))


def flow_of(tone: Plane, mask: Plane) -> Flow:
    """Unit vectors along strands: a fine structure tensor where it is coherent, a wide one elsewhere.

    The mask's own rim counts little, so that strands meet the hairline as they grow.
    """
    relief = weighted_mean(tone, mask, 1.3) - weighted_mean(tone, mask, 9)
    dx, dy = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3)
    weight = soften(grown(mask > 0.6, -4).astype(np.float32), 2) + np.float32(1e-3)
    gain = weight / (weighted_mean(dx * dx + dy * dy, weight, 12) + np.float32(1e-4))
    tensor = [np.asarray(plane * gain, np.float32) for plane in (dx * dx, dx * dy, dy * dy)]
    fine = [soften(plane, 3.5) for plane in tensor]
    half = [cv2.resize(plane, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA) for plane in tensor]
    wide = [cv2.resize(soften(plane, 3.5), tone.shape[::-1]) for plane in half]
    energy, wide_energy = fine[0] + fine[2] + 1e-6, wide[0] + wide[2] + 1e-6
    coherent = np.sqrt((fine[0] - fine[2]) ** 2 + 4 * fine[1] ** 2) / energy
    mixed = [
        soften(np.asarray(coherent * a / energy + (1 - coherent) * 0.6 * b / wide_energy, np.float32), 2.5)
        for a, b in zip(fine, wide, strict=True)
    ]
    angle = 0.5 * np.arctan2(2 * mixed[1], mixed[0] - mixed[2]) + np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)


def _hair_mask(sitter: Sitter, regions: Regions) -> Plane:
    """The region without brows, eyes and mouth, unless a fringe covers the brow, and without a bald crown."""
    mask = regions.hair.copy()
    place = place_of(sitter, len(mask))
    if regions.bald:  # what is left of the hair grows at the sides
        crown = (place.y < place.brow) & (np.abs(place.x) < 0.8 * place.half)
        mask *= 1 - soften(crown.astype(np.float32), 2)
    lower = (place.depth > 0.04) & (place.y > place.nose - 0.1)
    mask *= 1 - soften(lower.astype(np.float32), 2)
    for side in (0, 1):
        brow = sitter.at(mesh.BROW_TOPS[side] + mesh.BROW_BOTTOMS[side][::-1])
        above = polygon_mask(brow - (0, 0.24 * sitter.eye_distance))
        eye = polygon_mask(sitter.at(mesh.SOCKETS[side] + mesh.EYE_BAGS[side][::-1]))
        covered = float(regions.hair[above].mean()) if above.any() else 0.0
        if covered < 0.8:
            hidden = grown(eye | (polygon_mask(brow) if covered < 0.55 else eye), 7)
            mask *= 1 - soften(hidden.astype(np.float32), 2.5)
    room = cv2.distanceTransform(np.pad(sitter.inside, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    sharp = ramp(mask, 0.25, 0.65) * (0.2 + 0.8 * ramp(room, 6, RUN_OUT))
    return np.asarray(
        sharp * soften(without_specks(sharp > 0.5, 1500).astype(np.float32), 2.5).clip(0, 0.5) * 2, np.float32
    )


def _ground(hair: Hair, middle: Plane) -> Mask:
    """Where the sheet is black, bool, of the box at the sheet's scale."""
    within = hair.mask[hair.box.window]
    spread = np.sqrt(weighted_mean((hair.streaks - middle) ** 2, within, 22))
    level = 0.10 * (hair.streaks - middle) / np.maximum(spread, 0.05)
    level += (0.18 + 0.32 * hair.black) * middle + 0.025 * hair.strands
    core = grown(within > 0.6, -4)
    inner = level[core if core.sum() > 500 else within > 0.5]
    level -= np.float32(np.quantile(inner, hair.black))
    # The border frays along the strands: the mask is smoothed along the flow, and strands push through it.
    frayed = smooth_along(within, hair.flow, 5.0, 2.0)
    level += 1.2 * np.clip(0.62 - frayed - 0.05 * hair.strands, 0, 1)
    level[within < 0.05] = 1
    ground = on_sheet(level) < 0
    ground = without_specks(ground, 160)
    return ~without_specks(~ground, 90)


def _draw_white(hair: Hair, middle: Plane, ground: Mask, canvas: Canvas) -> int:
    """White strands on the ground, fewer where it is dark; returns their number."""
    where = grown(ground, -1) & (hair.mask[hair.box.window] > 0.5)
    apart = np.interp(middle, (0, 0.35, 0.7), (9, 5.5, 3.5)).astype(np.float32)
    strokes = ridge_strokes(
        hair.strands, hair.flow, where, high=1.0, low=0.25, shortest=24, reach=80, separation=apart, smooth=2
    )
    drawn = 0
    for stroke in strokes:
        needed = np.interp(sample_on(middle, stroke.curve).mean(), (0, 0.5), (2.0, 1.0))
        if stroke.response.max() >= needed:
            width = np.interp(stroke.response, (0.25, 3), (0.5, 1.3)) * taper(len(stroke.curve), 0.4, 0.4, 0.1)
            canvas.stroke(stroke.curve + hair.box.corner, width, erase=True)
            drawn += 1
    return drawn


def _draw_black(hair: Hair, within: Plane, ground: Mask, canvas: Canvas) -> int:
    """Black strands beside the ground, fewer where the hair is light; returns their number."""
    apart = np.interp(hair.streaks, (0.1, 0.5, 0.9), (3.0, 5.0, 9.0)).astype(np.float32)
    dark = np.asarray(-hair.strands * (within > 0.35), np.float32)
    strokes = ridge_strokes(
        dark, hair.flow, within > 0.5, high=0.9, low=0.15, shortest=30, reach=100, separation=apart, smooth=2
    )
    for stroke in strokes:
        width = np.interp(stroke.response, (0.15, 3), (0.5, 1.45)) * taper(len(stroke.curve), 0.4, 0.4, 0.1)
        canvas.stroke(stroke.curve + hair.box.corner, width)
    return len(strokes)


def _draw_loose_ends(hair: Hair, ground: Mask, canvas: Canvas) -> None:
    """Strokes that run out of black hair where its ridges meet the border, along the flow."""
    within = hair.mask[hair.box.window]
    soft = soften(within, 2.5)
    away = -np.stack([cv2.Sobel(soft, cv2.CV_32F, 1 - axis, axis) for axis in (0, 1)], axis=-1)
    near_ground = grown(ground, 5)
    height, width = within.shape
    outlines, _ = cv2.findContours((soft > 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        if len(outline) < 120:
            continue
        border = smoothed(outline[:, 0].astype(np.float64), 2, closed=True)
        inside = np.asarray(((border > 12) & (border < (width - 12, height - 12))).all(axis=1))
        normal = np.stack([sample_on(np.ascontiguousarray(away[..., axis]), border) for axis in (0, 1)], axis=1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6
        roots = border - 7 * normal
        ridge = smoothed(np.maximum(-sample_on(hair.strands, roots), -0.5), 2, closed=True)
        peaks = _peaks(ridge, 9)
        for index in peaks:
            x, y = np.clip(np.rint(roots[index]).astype(int), 0, (width - 1, height - 1))
            if not inside[index] or not near_ground[y, x]:
                continue
            stroke = _loose_end(roots[index], normal[index], hair.flow[y, x].astype(np.float64), ridge[index])
            if stroke is not None:
                canvas.stroke(
                    stroke + hair.box.corner, (0.65 + 0.2 * ridge[index]) * taper(len(stroke), 0.1, 0.9, 0.08)
                )


def _loose_end(root: Curve, normal: Curve, along: Curve, ridge: float) -> Curve | None:
    outward = float(along @ normal)
    if outward < 0:
        along, outward = -along, -outward
    if outward < 0.12:  # strands along the border: only a clear one leaves it
        if ridge < 0.8:
            return None
        along = along + 0.22 * normal
        along = along / np.linalg.norm(along)
    length = (13 + 9 * min(max(ridge, 0.0), 2.0)) * (1.2 - 0.6 * outward)
    at = np.linspace(0, 1, 12)[:, None]
    # Hair bends back to the head and falls.
    return np.asarray(root + at * length * along + at**2 * length * (np.array([0, 0.08]) - 0.1 * normal), np.float64)


def _peaks(values: Floats, apart: int) -> list[int]:
    """Indexes of a closed curve's maxima, each the highest within `apart` samples."""
    padded = np.concatenate([values[-apart:], values, values[:apart]])
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * apart + 1).max(axis=1)
    peaks = np.nonzero((values >= around) & (values > 0.1))[0]
    return [int(index) for index in peaks]
