"""The person's outline where no black borders on the page: head, hats, fair hair, shoulders; it runs out at the rim."""

from typing import Final

import cv2
import numpy as np

from train.artist.canvas import SIDE, Canvas
from train.artist.curves import Curve, resample, runs, sample_on, smoothed, snap, taper
from train.artist.regions import Regions, ramp
from train.artist.sitter import Sitter
from train.npr.edge_flow import soften
from train.npr.face_parsing import Mask

RIM: Final = 8
"""Pixels from the photo's or the page's rim where no outline is drawn."""
RUN_OUT: Final = 60
"""Pixels over which lines run out towards the rim."""


def draw_silhouette(sitter: Sitter, regions: Regions, canvas: Canvas) -> None:
    """Draws the outline of the person; where ink is near already, nothing."""
    soft = soften(sitter.person.astype(np.float32), 3.5)
    outlines, _ = cv2.findContours((soft > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    tones = (sitter.light / np.float32(sitter.contrast)).astype(np.float32)
    inked = canvas.near(5)
    hair = soften(regions.hair, 3)
    open_to_page = _open_to_page(sitter)
    room = np.asarray(cv2.distanceTransform(open_to_page.astype(np.uint8), cv2.DIST_L2, 5), np.float32)
    for outline in outlines:
        if len(outline) < 200:
            continue
        curve = smoothed(outline[:, 0].astype(np.float64), 3, closed=True)
        for part in _shown(curve, open_to_page & ~inked):
            line, strength = snap(tones, part, 7, feature="edge", sigma=1.8, along=4, prior=0.06, stiff=0.03, smooth=4)
            width = 1.75 + 0.5 * ramp(smoothed(strength, 8), 0.05, 0.3)
            width *= 1 - 0.35 * sample_on(hair, line).clip(0, 1)
            width *= 0.15 + 0.85 * ramp(sample_on(room, line), 0, RUN_OUT)
            canvas.stroke(line, width * taper(len(line), 0.12, 0.12, 0.2))


def page(sitter: Sitter, reach: int = 12) -> Mask:
    """Where there may be ink, bool [1024, 1024]: on the person and up to `reach` pixels beside, within the photo."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray((cv2.dilate(sitter.person.astype(np.uint8), kernel) > 0) & sitter.inside)


def _open_to_page(sitter: Sitter) -> Mask:
    """Off the rims of photo and page, where the person is cut and has no outline."""
    framed = np.zeros((SIDE + 2, SIDE + 2), np.uint8)
    framed[1:-1, 1:-1] = sitter.inside
    return np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1] > RIM)


def _shown(curve: Curve, where: Mask) -> list[Curve]:
    """The parts of a closed curve that lie in a mask, resampled."""
    at = np.clip(np.rint(curve).astype(int), 0, SIDE - 1)
    shown = where[at[:, 1], at[:, 0]]
    if shown.all():
        shown[0] = False
    if not shown.any():
        return []
    first = int(np.nonzero(~shown)[0][0])
    curve, shown = np.roll(curve, -first, axis=0), np.roll(shown, -first)
    parts = [resample(curve[start:end], 2.0) for start, end in runs(shown) if end - start >= 25]
    return [part for part in parts if len(part) >= 12]
