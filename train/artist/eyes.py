"""Eyes: two lids snapped to the photo, the iris with its light part and its highlight, lashes, crease and bag.

Lid openness, gaze and the light part of the iris are the photo's: they make the likeness.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.artist import mesh
from train.artist.canvas import Box, Canvas, box_around, on_sheet, polygon_mask, without_specks
from train.artist.curves import (
    Curve,
    Floats,
    normals_away,
    sample,
    sample_on,
    smooth_curve,
    smoothed,
    snap,
    spline,
    strong_runs,
    taper,
)
from train.artist.sitter import Sitter
from train.artist.tones import dark_level, depth_along
from train.npr.edge_flow import Plane, soften
from train.npr.face_parsing import Mask

CLOSED = 0.13
"""An eye lower than this, over its width, is drawn as closed."""
SIDES = np.deg2rad(np.r_[np.arange(-35, 50, 5), np.arange(130, 216, 5)])
"""Where an iris's rim is seen between the lids."""


@dataclass(frozen=True)
class Eye:
    """What was drawn.

    Attributes:
        opening: closed outline between the lids, [N, 2].
        clear: bool [2048, 2048], the inside of it: nothing else is drawn there.
        is_open: whether an iris was drawn.
        quality: how clearly the photo shows the iris and the lids, 0 to 1.
    """

    opening: Curve
    clear: Mask
    is_open: bool
    quality: float


@dataclass(frozen=True)
class _Lids:
    """Both from the outer corner to the inner one; `lift` points away from the opening along the upper lid."""

    upper: Curve
    lower: Curve
    lift: Curve
    strength: float
    outwards: float  # sign of x towards the temple


def draw_eye(sitter: Sitter, side: int, canvas: Canvas) -> Eye:
    """Draws the eye on the image's left (0) or right (1)."""
    lids = _find_lids(sitter, side)
    opening = np.vstack([lids.upper, lids.lower[::-1]])
    clear = _inside(opening)
    span = float(np.linalg.norm(lids.upper[0] - lids.upper[-1]))
    middle = len(lids.upper) // 2
    height = float(np.linalg.norm(lids.upper[middle] - lids.lower[len(lids.lower) // 2]))
    is_open = height > CLOSED * span
    seen = 0.0
    if is_open:
        iris = _find_iris(sitter, side)
        _draw_iris(sitter, iris, clear, canvas)
        seen = iris.contrast
    _draw_upper_lid(sitter, lids, is_open, canvas)
    _draw_lower_lid(sitter, lids, is_open, canvas)
    _draw_crease(sitter, side, lids, canvas)
    _draw_bag(sitter, side, canvas)
    quality = float(np.clip(0.5 * seen / 0.25 + 0.5 * lids.strength / 0.25, 0, 1))
    return Eye(opening, clear, is_open, quality)


def _inside(outline: Curve) -> Mask:
    sheet = Canvas()
    sheet.polygon(outline)
    return sheet.ink > 0


def _find_lids(sitter: Sitter, side: int) -> _Lids:
    upper_group, lower_group = mesh.UPPER_LIDS[side], mesh.LOWER_LIDS[side]
    upper_guess, lower_guess = spline(sitter.at(upper_group)), spline(sitter.at(lower_group))
    height = float(np.linalg.norm(sitter.at(upper_group[4]) - sitter.at(lower_group[4])))
    tube = float(np.clip(0.35 * height, 3, 6))
    upper, dark = snap(sitter.tone, upper_guess, tube, feature="dark", prior=0.12, stiff=0.03, smooth=5)
    lower, _ = snap(sitter.tone, lower_guess, min(tube, 5), sigma=1.3, prior=0.08, stiff=0.03, smooth=5)
    _join_ends(upper, lower, 6)
    lift = normals_away(upper, lower.mean(axis=0))
    outwards = -1.0 if side == 0 else 1.0
    return _Lids(upper, lower, lift, float(np.median(dark)), outwards)


def _join_ends(first: Curve, second: Curve, reach: float) -> None:
    """Bends both ends of two curves to their common middles, in place; reach in samples."""
    for end in (0, -1):
        middle = (first[end] + second[end]) / 2
        for curve in (first, second):
            pull = np.exp(-np.arange(len(curve)) / reach)[:, None]
            curve += (middle - curve[end]) * (pull if end == 0 else pull[::-1])


@dataclass(frozen=True)
class _Iris:
    centre: Floats
    radius: float
    contrast: float  # outside less inside along its rim, in the portrait's contrast


def _find_iris(sitter: Sitter, side: int) -> _Iris:
    """The circle near the mesh's iris with the greatest contrast along its sides."""
    middle, rim = sitter.at(mesh.IRIS_CENTRES[side]), sitter.at(mesh.IRIS_RIMS[side])
    usual = float(np.linalg.norm(rim - middle, axis=1).mean())
    grid = np.meshgrid(np.arange(-4, 5), np.arange(-3, 4), usual * np.arange(0.9, 1.16, 0.05), indexing="ij")
    dx, dy, radius = (axis.ravel().astype(np.float64) for axis in grid)
    box = box_around([middle], 2.5 * usual + 10)
    light = soften(np.ascontiguousarray(sitter.light[box.window]), 1.5)
    x, y = middle[0] + dx - box.left, middle[1] + dy - box.top

    def ring(change: float) -> Plane:
        reach = (radius + change)[:, None]
        return sample(light, x[:, None] + reach * np.cos(SIDES), y[:, None] + reach * np.sin(SIDES))

    contrast = (ring(2.5) - ring(-2.5)).mean(axis=1) / sitter.contrast
    score = contrast - 0.004 * (dx * dx + dy * dy) - 1.2 * np.abs(radius / usual - 1)
    best = int(score.argmax())
    found = middle + np.array([dx[best], dy[best]])
    return _Iris(found, float(radius[best]), float(contrast[best]))


def _draw_iris(sitter: Sitter, iris: _Iris, clear: Mask, canvas: Canvas) -> None:
    """A black disc whose lightest part, as the photo has it, stays white, with a pupil and one highlight."""
    centre, radius = iris.centre, iris.radius
    box = box_around([centre], radius + 4)
    sheet = Canvas()
    sheet.disc(centre, radius)
    y, x = np.mgrid[box.top : box.bottom, box.left : box.right].astype(np.float64)
    out = np.hypot(x - centre[0], y - centre[1]) / radius
    visible = clear[::2, ::2][box.window]
    lightness = np.asarray(sitter.lab[..., 0][box.window] / 255, np.float32)
    body = (out > 0.42) & (out < 0.82) & visible & (y > centre[1] - 0.4 * radius)
    ring = (out > 0.45) & (out < 0.85) & visible & (y > centre[1] - 0.2 * radius)
    darkness = float(np.median(sitter.darkness[box.window][ring])) if ring.sum() > 10 else 1.0
    if body.sum() > 30:
        calm = soften(lightness, 0.9)
        share = float(np.interp(darkness, (0.25, 0.5, 0.75, 1.0), (0.66, 0.48, 0.26, 0.12)))
        level = np.where(body, calm - np.quantile(calm[body], 1 - share), -0.2).astype(np.float32)
        patch = sheet.ink[box.sheet_window]
        white = without_specks(on_sheet(soften(level, 0.8)) > 0, 40)
        patch[white] = 0
        sheet.disc(centre, 0.4 * radius)
    sheet.disc(_highlight(sitter, iris, box, soften(lightness, 1.2), out, visible), max(0.2 * radius, 1.9), erase=True)
    sheet.erase(~clear)
    canvas.add(sheet)


def _highlight(
    sitter: Sitter, iris: _Iris, box: Box, lightness: Plane, out: Floats, visible: npt.NDArray[np.bool_]
) -> Floats:
    """The lightest spot of the iris, or where a window would be seen if the photo has none."""
    y = np.arange(box.top, box.bottom)[:, None]
    candidates = (out < 0.72) & visible & (y < iris.centre[1] + 0.45 * iris.radius)
    if candidates.sum() > 12:
        values = np.where(candidates, lightness, -1)
        row, column = np.unravel_index(int(values.argmax()), values.shape)
        if values[row, column] - np.median(lightness[candidates]) > 0.35 * sitter.contrast:
            return np.array([box.left + column, box.top + row], np.float64)
    return np.asarray(iris.centre - np.array([0.36, 0.34]) * iris.radius, np.float64)


def _draw_upper_lid(sitter: Sitter, lids: _Lids, is_open: bool, canvas: Canvas) -> None:
    """The lid's line, thick over its outer two thirds, a small wing, and the lashes that the photo shows."""
    upper, lift = lids.upper, lids.lift
    count = len(upper)
    at = np.linspace(0, 1, count)
    darkness = smoothed(np.clip(sample_on(sitter.darkness, upper), 0, 1.2), 6)
    width = np.interp(at, [0, 0.08, 0.3, 0.6, 0.88, 1], [1.7, 3.0, 3.7, 3.2, 2.1, 1.3]) * (0.7 + 0.45 * darkness)
    wing = upper[0] - upper[4]
    wing = 0.9 * wing / (np.linalg.norm(wing) + 1e-9) + (0, -0.35)
    wing = upper[0] + np.linspace(7, 0, 6)[:-1, None] * wing
    # The lid grows thick to the outside, so that it does not close the eye.
    line = np.vstack([wing, upper + lift * (0.8 * (width[:, None] - 1))])
    canvas.stroke(smooth_curve(line, 1.5), np.r_[np.linspace(0.3, width[0], 5), width])
    inner = np.vstack([upper[-5:], upper[-1] + (-2.5 * lids.outwards, 1.0)])
    canvas.stroke(inner, np.linspace(1.1, 0.4, 6))
    _fill_lashes(sitter, lids, canvas)
    _draw_lashes(sitter, lids, line[5:], canvas)


def _fill_lashes(sitter: Sitter, lids: _Lids, canvas: Canvas) -> None:
    """Lashes and liner as a mass above the outer three quarters of the lid, where the photo is as dark as the lid."""
    count = int(0.8 * len(lids.upper))
    near = np.interp(np.linspace(0, 1, len(lids.upper)), [0, 0.2, 0.6, 1], [7, 8, 6, 3])[:, None]
    rim = np.vstack([lids.upper[:count], (lids.upper + lids.lift * near)[:count][::-1]])
    lid = float(np.percentile(sample_on(sitter.darkness, lids.upper + lids.lift), 70))
    if lid > 0.45:
        box = box_around(rim, 4)
        canvas.fill(dark_level(sitter.darkness, polygon_mask(rim), box, max(0.78 * lid, 0.45)), box)


def _draw_lashes(sitter: Sitter, lids: _Lids, line: Curve, canvas: Canvas) -> None:
    outside = np.array([lids.outwards, 0.0])
    for place in (0.0, 0.07, 0.15, 0.24, 0.34):
        index = int(place * (len(line) - 1))
        heading = lids.lift[index] * (0.55 + 0.9 * place) + outside * (1.15 - 1.5 * place)
        heading /= np.linalg.norm(heading)
        root = line[index]
        dark = float(sample_on(sitter.darkness, (root + 4.5 * heading)[None])[0])
        length = float(np.clip(3 + 9 * dark, 0, 11)) * (1 - 0.3 * place)
        if length >= 4:
            along = np.linspace(0, 1, 8)[:, None]
            lash = root + along * length * heading + along**2 * length * 0.25 * np.array([0, -1])
            canvas.stroke(lash, 1.5 * taper(8, 0, 1, 0.12, 1))
    for place in np.linspace(0.12, 0.5, 5):
        root = lids.lower[int(place * (len(lids.lower) - 1))]
        heading = outside * (0.8 - 1.2 * place) - lids.lift[int(place * (len(lids.lift) - 1))]
        heading /= np.linalg.norm(heading)
        if sample_on(sitter.darkness, (root + 4 * heading)[None])[0] > 0.5:
            canvas.stroke(root + np.linspace(1, 6.5, 6)[:, None] * heading, 0.9 * taper(6, 0, 1, 0.15))


def _draw_lower_lid(sitter: Sitter, lids: _Lids, is_open: bool, canvas: Canvas) -> None:
    if not is_open:
        return
    at = np.linspace(0, 1, len(lids.lower))
    darkness = smoothed(np.clip(sample_on(sitter.darkness, lids.lower), 0, 1.1), 6)
    width = np.interp(at, [0, 0.15, 0.5, 0.8, 0.93, 1], [1.8, 1.7, 1.2, 1.0, 1.0, 1.1]) * (0.65 + 0.6 * darkness)
    canvas.stroke(lids.lower, width)


def _draw_crease(sitter: Sitter, side: int, lids: _Lids, canvas: Canvas) -> None:
    guess = spline(0.75 * sitter.at(mesh.CREASES[side]) + 0.25 * sitter.at(mesh.SOCKETS[side]))
    curve, strength = snap(sitter.tone, guess, 10, sigma=1.8, prior=0.02, smooth=5)
    gap = np.linalg.norm(curve[:, None] - lids.upper[None], axis=2).min(axis=1)
    strength = np.where(gap > 5, strength, 0)
    for start, end in strong_runs(strength, 0.022, 0.008, 20):
        part = strength[start:end]
        width = smoothed(np.clip(0.9 + 9 * part, 1.0, 1.9), 4)
        canvas.stroke(curve[start:end], width * taper(end - start, 0.3, 0.3, 0.2))


def _draw_bag(sitter: Sitter, side: int, canvas: Canvas) -> None:
    curve, strength = snap(sitter.tone, spline(sitter.at(mesh.EYE_BAGS[side])), 9, sigma=2.2, prior=0.02, smooth=5)
    strength = np.minimum(strength, 0.7 * depth_along(sitter.darkness, curve, 5.5))
    for start, end in strong_runs(strength, 0.036, 0.018, 26)[:1]:
        width = np.clip(0.65 + 6 * strength[start:end], 0.8, 1.4)
        canvas.stroke(curve[start:end], width * taper(end - start, 0.4, 0.4, 0.15))


def eye_masks(sitter: Sitter) -> list[Mask]:
    """From crease to lower lid on each side, bool [1024, 1024]."""
    return [
        polygon_mask(np.vstack([sitter.at(crease), sitter.at(lower)[::-1]]))
        for crease, lower in zip(mesh.CREASES, mesh.LOWER_LIDS, strict=True)
    ]
