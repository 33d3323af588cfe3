"""Two-tone portrait drawings by filtering, the targets of pre-training (sec. 6, in the spirit of the paper's [27]).

A drawing is made of lines and blocks. The way of a photo: its parts are told apart (`train.npr.face_parsing`); each
part's lightness is brought to a scale of its own, so that dark and light skin, fair and black hair draw alike; a
difference of Gaussians across the edges' flow, smoothed along it, finds strokes (`train.npr.edge_flow`). Then
- hair: tone and strokes under a threshold, set so that the darker the hair, the more of it is solid black, crossed by
  white strands;
- eyes, brows, mouth, beard: tone and strokes under a fixed threshold;
- skin and clothes: only confident lines, redrawn by a pen of even width, so that they stay thin however blurred the
  photo is; on skin only what is dark and narrow (a frame of glasses, a nostril) is filled, never a shadow;
- the jaw and the outline against the background: one thin line.
Thresholds are taken at twice the size and the drawing is reduced, which leaves grey only on the rims of strokes.
"""

from typing import NamedTuple

import cv2
import numpy as np

from engines.portrait import SIZE, WHITE, Image, Landmarks
from train.npr.edge_flow import (
    Plane,
    difference_across,
    smooth_along,
    soften,
    tangent_flow,
    weighted_mean,
)
from train.npr.face_parsing import FACE, Mask, Parts, find_parts
from train.npr.line_map import line_map
from train.npr.parameters import NprParameters
from train.npr.strokes import PenZone, drop_specks, enlarged, jaw_line, pen_lines, person_outline


class NprDrawing(NamedTuple):
    """A drawing and where its lines run.

    Attributes:
        drawing: uint8 [512, 512], 0 black to 255 white, few values between.
        lines: uint8 [512, 512], 0 on a black line, 255 on a white line (a light stroke through black), 128 elsewhere;
            what the line detectors of eq. 4 are trained on.
    """

    drawing: Image
    lines: Image


def draw(photo: Image, labels: Image, landmarks: Landmarks, parameters: NprParameters | None = None) -> NprDrawing:
    """Draws an aligned portrait in two tones.

    Args:
        photo: uint8 [512, 512, 3], RGB.
        labels: uint8 [512, 512], 0 background, 1 person, 2 face oval.
        landmarks: float32 [5, 2], pixels.
        parameters: widths, levels and lengths; the defaults where None.

    Returns:
        The drawing and its line map.
    """
    p = parameters or NprParameters()
    parts = find_parts(photo, labels, landmarks)
    features = np.maximum(np.maximum(parts.eyes, parts.brows), parts.mouth)
    lab = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)
    light = cv2.bilateralFilter(lab[..., 0], 5, 14, 3).astype(np.float32) / np.float32(WHITE)
    redness = soften(lab[..., 1].astype(np.float32) / np.float32(WHITE), 1.0)
    face = labels == FACE
    level = float(np.median(light[face])) if face.any() else 0.7
    black_share = float(np.interp(_middle(light, parts.hair) / max(level, 0.35), p.hair_lightness, p.hair_black))

    skin = skin_tone(light, redness, face, parts)
    skin += parts.beard * (0.25 + 0.9 * light / max(level, 0.3) - skin)
    inside = np.clip(parts.skin + parts.hair + parts.clothes, 0, 1)
    tone = parts.skin * skin + parts.hair * hair_tone(light, parts.hair) + parts.clothes * 1.2 * light + 1 - inside
    person = soften(parts.person, 2.0)
    tone = np.clip(1 + person * (tone - 1), -0.3, 1.4).astype(np.float32)  # a white page has no lines of its own

    flow = tangent_flow(tone, p.flow_sigma)
    sigma = p.line_sigma + features * (p.feature_sigma - p.line_sigma)
    strokes = np.stack([difference_across(tone, flow, sigma.astype(np.float32)), tone], axis=-1)
    strokes = smooth_along(strokes, flow, p.stroke_sigma)
    blocks = 1 + person * (ink_level(tone, strokes, parts, labels, black_share, p) - 1)
    ink = np.clip(0.5 - 100 * enlarged(blocks), 0, 1)

    jaw = jaw_line(labels, landmarks, 2 * p.contour)
    eyes_and_brows = np.maximum(parts.eyes, parts.brows)
    bare = enlarged(parts.skin * (1 - np.float32(0.9) * eyes_and_brows) * (1 - parts.beard)) > 0.5
    zones = (
        PenZone(bare, *p.skin_strength, 2 * p.skin_length),
        PenZone(enlarged(parts.clothes) > 0.5, *p.clothes_strength, 2 * p.clothes_length),
    )
    strength = enlarged(-strokes[..., 0] * (parts.skin + 1.9 * parts.clothes))
    widths = (2 * p.pen[0], 2 * p.pen[1])
    pen = pen_lines(strength, flow.repeat(2, axis=0).repeat(2, axis=1), zones, jaw, widths)
    outline = person_outline(parts, ink, black_share, 2 * p.contour)
    ink = np.maximum.reduce([ink, pen, outline, jaw * (1 - enlarged(parts.beard))])
    ink = drop_specks(1 - drop_specks(1 - ink, 4 * p.speck), 4 * p.speck)
    drawing = np.rint((1 - cv2.resize(ink, (SIZE, SIZE), interpolation=cv2.INTER_AREA)) * WHITE).astype(np.uint8)
    return NprDrawing(drawing, line_map(drawing, p.line_width, p.line_length))


def skin_tone(light: Plane, redness: Plane, face: Mask, parts: Parts) -> Plane:
    """Lightness against the skin around it: 1 on bare skin however dark or shaded, about 0.25 in pupils and brows.

    Args:
        light: lightness, 0 to 1.
        redness: a* of CIELAB, 0 to 1; makes lips stand out.
        face: the face oval.
        parts: the portrait's parts.
    """
    mean = weighted_mean(light, parts.skin, 14)
    # Brows, eyes and lips must not pull their surroundings' level down towards themselves.
    bare = parts.skin * (light > mean - 0.04) * (1 - 0.9 * np.maximum(parts.eyes, parts.mouth))
    difference = light - weighted_mean(light, bare.astype(np.float32), 22)
    # Each side of the face has a contrast of its own: one eye may lie in the shade.
    dark = (np.maximum(parts.eyes, parts.brows) > 0.5) & (parts.skin > 0.5)
    contrasts = []
    for half in (np.s_[:, : SIZE // 2], np.s_[:, SIZE // 2 :]):
        found = difference[half][dark[half]]
        contrasts.append(float(np.clip(-np.percentile(found, 6), 0.10, 0.45)) if found.size > 50 else 0.4)
    most = max(contrasts)
    left, right = (max(contrast, most / 2) for contrast in contrasts)
    contrast = np.interp(np.arange(SIZE), (SIZE / 2 - 40, SIZE / 2 + 40), (left, right)) + np.zeros_like(light)
    for part in (parts.mouth, parts.nose):  # they are paler than eyes
        found = difference[(part > 0.5) & (parts.skin > 0.5)]
        own = float(np.clip(-np.percentile(found, 4), 0.4 * most, most)) if found.size else most
        contrast += part * (own - contrast)
    tone = 1 + 0.75 * difference / contrast
    usual = float(np.median(redness[face])) if face.any() else 0.55
    tone -= parts.mouth * np.clip(6 * (redness - usual - 0.012), 0, 0.3)
    return np.maximum(tone, 0.1).astype(np.float32)  # no darker than hair, or there would be a halo between the two


def hair_tone(light: Plane, hair: Plane) -> Plane:
    """Lightness spread over the hair's own range, 0 to 1."""
    found = light[hair > 0.6]
    if found.size < 400:
        return light
    low, high = np.percentile(found, (3, 97))
    spread = (light - np.float32(low)) / np.float32(max(high - low, 0.16))
    return np.asarray(np.clip(spread, -0.3, 1.3), np.float32)


def ink_level(tone: Plane, strokes: Plane, parts: Parts, labels: Image, black_share: float, p: NprParameters) -> Plane:
    """What turns black (below 0) and what stays white, before lines are added.

    Args:
        tone: each part's tone.
        strokes: [H, W, 2], difference of Gaussians and tone, both smoothed along the flow.
        parts: the portrait's parts.
        labels: the label map.
        black_share: share of the hair that turns black.
        p: levels, gain and sizes.
    """
    difference, smooth = strokes[..., 0], strokes[..., 1]
    features = np.clip(np.maximum(parts.eyes, parts.brows) + parts.mouth, 0, 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (p.narrow_size, p.narrow_size))
    depth = cv2.morphologyEx(tone, cv2.MORPH_CLOSE, kernel) - tone

    mean = weighted_mean(smooth, parts.hair, 9)
    spread = np.sqrt(weighted_mean((smooth - mean) ** 2, parts.hair, 9))
    evenly = 0.2 + 0.5 * black_share  # light hair has its strands everywhere, not only where it is in the shade
    hair = 0.10 * (smooth - mean) / np.maximum(spread, 0.05) + evenly * mean + 1.4 * p.gain * difference
    within = (parts.hair > 0.6) & (cv2.erode(labels, np.ones((7, 7), np.uint8)) > 0)
    middle = float(np.quantile(hair[within], black_share)) if within.sum() > 500 else 0.35
    hair -= middle + (0.04 if black_share > 0.5 else -0.04)  # what has no strands is all black or all white, not grey

    inked = tone + p.gain * difference - p.feature_level - parts.brows * np.float32(p.brow_level - p.feature_level)
    for half in (np.s_[:, : SIZE // 2], np.s_[:, SIZE // 2 :]):
        eye = inked[half][parts.eyes[half] > 0.5]
        # An eye that lies in the shade must not turn into a black hole.
        excess = max(-float(np.quantile(eye, p.eye_black)), 0.0) if eye.size else 0.0
        inked[half] += (excess + 0.02 * (excess > 0)) * parts.eyes[half]

    skin = p.narrow_depth - depth
    nose = np.maximum(tone + p.gain * difference - 0.36, 0.7 * p.narrow_depth - depth)
    for part, level in (
        (parts.nose, nose),
        (features, inked),
        (parts.beard * (1 - features), smooth + p.gain * difference - 0.25 - 0.9 * p.beard_level),
    ):
        skin = skin + part * (np.clip(level, -0.5, 0.5) - np.clip(skin, -0.5, 0.5))
    clothes = smooth + p.gain * difference - 1.2 * p.clothes_level
    planes = ((parts.skin, skin), (parts.hair, hair), (parts.clothes, clothes))
    total = sum((part * np.clip(level, -0.5, 0.5) for part, level in planes), np.zeros_like(tone))
    return np.asarray(total + 0.5 * np.clip(1 - parts.skin - parts.hair - parts.clothes, 0, 1), np.float32)


def _middle(light: Plane, part: Plane) -> float:
    found = light[part > 0.6]
    return float(np.median(found)) if found.size else 0.5
