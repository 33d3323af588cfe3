"""Beards and moustaches: a mask from what is unlike skin where beards grow, and strokes along the growth.

A place is bearded where it is darker or greyer than the cheeks and rougher. That is judged by zone (moustache, chin,
cheeks, below the chin) and on both halves of the face, so that folds, shade and lips are none; hair is then drawn as
ridges of the photo along its growth: away from the nose's base, and down.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from train.artist import mesh
from train.artist.canvas import SIDE, Canvas, box_of, grown, on_sheet, polygon_mask, without_specks
from train.artist.curves import taper
from train.artist.regions import Place, Regions, place_of, ramp
from train.artist.sitter import Sitter
from train.artist.tracing import Flow, ridge_strokes
from train.npr.edge_flow import Plane, difference_across, smooth_along, soften, tangent_flow, weighted_mean
from train.npr.face_parsing import Mask

LEAST_SHARE: Final = 0.45
"""Share of a half of the moustache's or the chin's zone that must look bearded."""
ALONE: Final = 0.85
"""Share that a moustache without a beard, or a beard without a moustache, needs: a shaded lip or chin has less."""
BOTH: Final = (0.20, 0.80)
"""Least share of either, and least sum, of moustache and chin that are a thin beard together."""
LEAST_BLACK: Final = 0.06
"""Share of a beard that a black part of it has."""
LEAST_HALF: Final = 0.3
"""Black of a beard's lesser half over that of the other; with less, it is the shade of one side."""
FULL: Final = 0.72
"""Share of the chin from which a beard is full and may hang below it."""
STUBBLE: Final = 0.30
"""Darkness over skin (0 skin, 1 pupil) below which a beard is grey, or stubble ..."""
SURE: Final = 0.60
"""... and must show on this share of a zone."""


@dataclass(frozen=True)
class Beard:
    """A beard.

    Attributes:
        mask: float32 [1024, 1024], 0 to 1.
        tone: float32 [1024, 1024], darkness against the skin of the upper face: 0 skin, 1 pupil.
        darkness: of the beard over skin, 0 skin to 1 pupil, upper quartile.
        shares: of moustache and chin that are bearded, the lesser half of each.
    """

    mask: Plane
    tone: Plane
    darkness: float
    shares: tuple[float, float]


def find_beard(sitter: Sitter, regions: Regions) -> Beard | None:
    """Finds a sitter's beard, None for shaven faces, stubble, and where only folds or shade are dark."""
    place = place_of(sitter, SIDE)
    signs, tone = _signs(sitter, place)
    moustache, chin, zone = _zones(sitter, regions, place)
    signs = np.minimum(signs, 1.15 * _mirrored(signs, sitter))
    marked = (signs > 0.45) & zone
    on_lip, on_chin = (_lesser_half(marked, part, place) for part in (moustache, chin))
    if max(on_lip, on_chin) < LEAST_SHARE:
        return None
    mask = zone & (signs > 0.35)
    if on_lip < BOTH[0]:
        mask &= ~moustache
    if on_chin < BOTH[0]:
        mask &= moustache | (place.y < place.mouth)
    if on_chin < FULL:
        mask &= place.depth > -0.03
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disc(9)) > 0
    mask = _joined(mask & zone, (moustache | chin) & marked)
    if mask.sum() < 900:
        return None
    darkness = float(np.percentile(tone[mask], 60))
    if darkness < STUBBLE and max(on_lip, on_chin) < SURE:
        return None
    thin = min(on_lip, on_chin) >= BOTH[0] and on_lip + on_chin >= BOTH[1]
    if min(on_lip, on_chin) < LEAST_SHARE and max(on_lip, on_chin) < ALONE and not thin:
        return None
    return Beard(soften(mask.astype(np.float32), 2.5), tone, darkness, (on_lip, on_chin))


def draw_beard(sitter: Sitter, beard: Beard, canvas: Canvas) -> float:
    """Draws the beard; returns how sure it is, 0 to 1."""
    box = box_of(beard.mask > 0.05, 24)
    if box is None:
        return 0.0
    within, light = beard.mask[box.window], np.ascontiguousarray(sitter.light[box.window])
    darkness = _evenly_lit(sitter, beard)[box.window]
    flow = _growth(sitter, light, (box.left, box.top))
    fine = difference_across(light, flow, 1.4)
    tone, fine = np.moveaxis(smooth_along(np.dstack([darkness, fine]), flow, 6.0, 2.0), -1, 0)
    usual = np.maximum(weighted_mean(np.abs(fine), within, 20), 0.008)
    strands = np.clip(fine / usual, -4, 4).astype(np.float32)
    frayed = smooth_along(within, flow, 4.0, 2.0)
    # Black where the photo is nearly as dark as pupils; hairs fray the rim.
    level = np.minimum(tone - 0.06 * strands - 0.62, 0.8 * (frayed - 0.55) - 0.06 * strands)
    if min(beard.shares) < LEAST_SHARE:  # a moustache or a beard alone: hairs only, black would be a blot
        level[:] = -1
    level[within < 0.08] = -1
    # Small black parts are shade, under the nose mostly.
    least = max(500, int(4 * LEAST_BLACK * (within > 0.5).sum()))
    ground = without_specks(on_sheet(level.astype(np.float32)) > 0, least)
    ground = ~without_specks(~ground, 60)
    middle = int(np.clip(2 * (_middle(sitter) - box.left), 0, ground.shape[1]))
    halves = sorted((int(ground[:, :middle].sum()), int(ground[:, middle:].sum())))
    if halves[0] < LEAST_HALF * halves[1]:
        ground[:] = False
    canvas.ink[box.sheet_window][ground] = 255
    small = cv2.resize(ground.astype(np.uint8), within.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    dark = np.asarray(-strands * grown(within > 0.3, 5), np.float32)
    apart = np.interp(tone, (0.1, 0.35, 0.7), (6.5, 4.0, 2.4)).astype(np.float32)
    black = ridge_strokes(
        dark,
        flow,
        (within > 0.45) & ~small,
        high=0.8,
        low=0.1,
        shortest=9,
        reach=22,
        separation=apart,
        smooth=1.5,
        cell=3,
    )
    scale = float(np.interp(beard.darkness, (0.1, 0.5), (0.7, 1.0)))
    for stroke in black:
        width = np.interp(stroke.response, (0.1, 3), (0.5, 1.25)) * scale * taper(len(stroke.curve), 0.35, 0.55, 0.1)
        canvas.stroke(stroke.curve + box.corner, width)
    where = grown(small, -2)
    white = ridge_strokes(
        strands, flow, where, high=1.3, low=0.3, shortest=14, reach=30, separation=6.0, smooth=1.5, cell=3
    )
    for stroke in white:
        width = np.interp(stroke.response, (0.3, 3), (0.45, 1.0)) * taper(len(stroke.curve), 0.4, 0.4, 0.1)
        canvas.stroke(stroke.curve + box.corner, width, erase=True)
    return max(beard.shares)


def _signs(sitter: Sitter, place: Place) -> tuple[Plane, Plane]:
    """How much each place looks bearded, 0 to 1: unlike the cheeks in tone or hue, and rough; and its darkness."""
    cheeks = sitter.oval & (place.depth > 0.1) & (place.y > 0.3) & (place.y < place.nose) & (sitter.bare > 0)
    colour = soften(np.asarray(sitter.lab, np.float32), 3)
    if not cheeks.any():
        return np.zeros_like(sitter.light), np.zeros_like(sitter.light)
    light, red, yellow = (float(np.median(colour[..., k][cheeks])) for k in range(3))
    lit = np.clip(colour[..., 0] / max(light, 1.0), 0.25, 1.3)
    pale = np.hypot(red - 128, yellow - 128) * lit - np.hypot(colour[..., 1] - 128, colour[..., 2] - 128)
    # The beard itself must not count as skin, nor the light of one cheek for both.
    upper = sitter.bare * (place.y < place.nose) * (place.depth > 0.05)
    skin_light = weighted_mean(sitter.light, upper.astype(np.float32), 90)
    tone = ((skin_light - sitter.light) / sitter.contrast).astype(np.float32)
    detail = soften(np.abs(sitter.light - soften(sitter.light, 2.5)), 7) / (soften(sitter.light, 7) + np.float32(0.06))
    least = 0.02 * sitter.contrast / (light / 255 + 0.06)
    rough = detail / max(float(np.median(detail[cheeks])), least)
    unlike = np.maximum.reduce(
        [
            ramp(soften(tone, 5), 0.15, 0.45),
            0.9 * ramp(soften(pale.astype(np.float32), 4), 5, 13),
            0.8 * ramp(rough, 2.2, 3.2),
        ]
    )
    return soften((unlike * ramp(rough, 1.15, 1.7)).astype(np.float32), 4), tone


def _mirrored(signs: Plane, sitter: Sitter) -> Plane:
    """The signs of the face's other half, with some room for a turned head."""
    return _other_half(signs, _middle(sitter))


def _other_half(plane: Plane, middle: float) -> Plane:
    """A plane mirrored at a column, each place the highest of its surroundings (30 pixels)."""
    height, width = plane.shape
    matrix = np.array([[-1, 0, 2 * middle], [0, 1, 0]], np.float64)
    flipped = cv2.warpAffine(plane, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(flipped, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cv2.dilate(small, _disc(15)), (width, height)), np.float32)


def _evenly_lit(sitter: Sitter, beard: Beard) -> Plane:
    """The beard's tone as if both halves had the light of the lighter one: a half in shade is no blacker."""
    wide = weighted_mean(beard.tone, beard.mask, 40)
    matrix = np.array([[-1, 0, 2 * _middle(sitter)], [0, 1, 0]], np.float64)
    other = cv2.warpAffine(wide, matrix, wide.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(beard.tone - np.maximum(wide - other, 0), np.float32)


def _middle(sitter: Sitter) -> float:
    return float(sitter.at((mesh.NOSE_BASE, mesh.CHIN, *mesh.MOUTH_MIDDLE))[:, 0].mean())


def _zones(sitter: Sitter, regions: Regions, place: Place) -> tuple[Mask, Mask, Mask]:
    """Where a moustache grows, the chin, and where any beard grows; the lips, the nose and cloth left out."""
    lips, nose = polygon_mask(sitter.at(mesh.LIPS)), polygon_mask(sitter.at(mesh.NOSE))
    free = ~grown(lips, 2) & ~grown(nose, 4) & sitter.person & sitter.inside
    corner = sitter.at(mesh.MOUTH_CORNERS)
    reach = float(np.ptp(corner[:, 0])) / 2 / sitter.eye_distance
    middle = float(corner[:, 0].mean() - sitter.at(mesh.OVAL)[:, 0].mean()) / sitter.eye_distance
    aside = np.abs(place.x - middle)
    moustache = free & (aside < reach) & (place.y > place.nose) & (place.y < place.mouth)
    lower = (
        float(sitter.at(mesh.LIP_BOTTOM)[:, 1].max() - sitter.at(mesh.IRIS_CENTRES)[:, 1].mean()) / sitter.eye_distance
    )
    chin = free & (aside < 0.8 * reach) & (place.y > lower + 0.05) & (place.depth > 0.03)
    below = (place.depth <= 0) & (place.y > place.chin - 0.35) & (aside < 0.95 * place.half)
    below &= (regions.cloth < 0.5) | (aside < 0.6 * place.half) | _coloured_as(sitter, chin)
    beside = (place.y > place.nose - 0.5) & (place.depth > 0.0) & (place.depth < 0.20)
    zone = free & (((place.y > place.nose) & (place.depth > -0.06)) | beside | (below & (place.y < place.chin + 1.4)))
    return moustache, chin, zone


def _coloured_as(sitter: Sitter, where: Mask) -> Mask:
    """Where the portrait has the hue of a zone and a lightness within its range: a long beard, no cloth."""
    if not where.any():
        return np.zeros_like(where)
    colour = soften(np.asarray(sitter.lab, np.float32), 4)
    own = colour[where]
    low, high = np.percentile(own[:, 0], (5, 95))
    hue = np.hypot(*(colour[..., k] - np.median(own[:, k]) for k in (1, 2)))
    return np.asarray((hue < 11) & (colour[..., 0] > low - 12) & (colour[..., 0] < high + 12))


def _lesser_half(marked: Mask, zone: Mask, place: Place) -> float:
    """Share of a zone that is marked, on the half that has less of it."""
    middle = float(np.median(place.x[zone])) if zone.any() else 0.0
    halves = [zone & (place.x < middle), zone & (place.x >= middle)]
    return min(float(marked[half].mean()) if half.any() else 0.0 for half in halves)


def _joined(mask: Mask, roots: Mask) -> Mask:
    """The connected parts of a mask that hold enough of the roots."""
    _, components = cv2.connectedComponents(mask.astype(np.uint8))
    counts = np.bincount(components[roots & mask], minlength=components.max() + 1)
    keep = counts > 150
    keep[0] = False
    return np.asarray(keep[components])


def _growth(sitter: Sitter, light: Plane, corner: tuple[int, int]) -> Flow:
    """Unit vectors away from the nose's base and down, mixed with the photo's own flow."""
    height, width = light.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    root = sitter.at(mesh.NOSE_BASE)
    dx, dy = (x + corner[0] - root[0]) * 0.5, np.abs(y + corner[1] - root[1]) * 0.4 + 0.2 * sitter.eye_distance
    growth = np.stack([dx, dy], axis=-1) / np.hypot(dx, dy)[..., None]
    own = tangent_flow(soften(light, 1), 3.5)
    mixed = 0.5 * growth + 0.5 * own * np.sign((own * growth).sum(axis=-1, keepdims=True))
    return np.asarray(mixed / (np.linalg.norm(mixed, axis=-1, keepdims=True) + 1e-6), np.float32)


def _disc(size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)
