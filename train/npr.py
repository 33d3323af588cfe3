"""Two-tone portrait drawings by filtering, the targets of pre-training (sec. 6, in the spirit of the paper's [27]).

The way of a photo: lightness -> evened out on skin -> edge-tangent flow from the structure tensor -> difference of
Gaussians across the flow, smoothed along it -> soft threshold -> jaw line. A difference of Gaussians added to the tone
itself gives lines at edges and solid black in dark areas alike, and white lines where light strands cross dark hair.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engines.portrait import WHITE, Image, Landmarks

Plane = npt.NDArray[np.float32]
"""float32 [H, W]."""

PERSON, FACE = 1, 2
"""Labels of a label map: person, and the face oval within it; 0 is background."""


@dataclass(frozen=True)
class NprParameters:
    """How the lines look. Lengths in pixels of a 512 x 512 portrait.

    Attributes:
        flow_sigma: smoothing of the structure tensor; larger gives longer, calmer strokes.
        line_sigma: width of the inner Gaussian across a line in hair and clothes; lines are about 2.5 times as wide.
        face_sigma: the same on skin.
        feature_sigma: the same around eyes and mouth.
        ratio: outer over inner Gaussian.
        gain: weight of the difference of Gaussians against the tone.
        face_gain: the same on skin.
        feature_gain: the same around eyes and mouth.
        feature_contrast: factor on the tone there, so that brows, pupils and lips stand out on any skin.
        stroke_sigma: smoothing along the flow.
        hair_level: lightness, relative to skin, under which hair and clothes turn black.
        face_level: the same on skin, whose shading has been evened out before.
        sharpness: steepness of the soft threshold.
        shading_sigma: scale of the light and shadow that is evened out on skin.
        jaw_width: width of the jaw line.
    """

    flow_sigma: float = 2.5
    line_sigma: float = 1.1
    face_sigma: float = 1.0
    feature_sigma: float = 0.8
    ratio: float = 1.6
    gain: float = 22.0
    face_gain: float = 11.0
    feature_gain: float = 16.0
    feature_contrast: float = 1.15
    stroke_sigma: float = 4.0
    hair_level: float = 0.42
    face_level: float = 0.52
    sharpness: float = 32.0
    shading_sigma: float = 26.0
    jaw_width: float = 2.0


def draw(photo: Image, labels: Image, landmarks: Landmarks, parameters: NprParameters | None = None) -> Image:
    """Draws an aligned portrait in two tones.

    Args:
        photo: uint8 [512, 512, 3], RGB.
        labels: uint8 [512, 512], 0 background, 1 person, 2 face oval.
        landmarks: float32 [5, 2], pixels.
        parameters: how the lines look.

    Returns:
        uint8 [512, 512], 0 black to 255 white, few values between.
    """
    p = parameters or NprParameters()
    person = soften((labels >= PERSON).astype(np.float32), 2.0)
    skin = skin_map(photo, labels)
    features = feature_map(landmarks, labels.shape)
    tone = even_tone(lightness(photo), skin, features, labels, p.shading_sigma, p.feature_contrast)
    tone = 1 - (1 - tone) * person  # a white background leaves no lines of its own
    flow = tangent_flow(tone, p.flow_sigma)
    lines = flow_difference(tone, flow, p.line_sigma, p)
    face_lines = flow_difference(tone, flow, p.face_sigma, p)
    feature_lines = flow_difference(tone, flow, p.feature_sigma, p)
    face_lines = features * feature_lines + (1 - features) * face_lines
    hair_response = tone + p.gain * lines - p.hair_level
    skin_response = tone + (p.face_gain + features * (p.feature_gain - p.face_gain)) * face_lines - p.face_level
    response = skin * skin_response + (1 - skin) * hair_response
    ink: Plane = np.maximum(-np.tanh(p.sharpness * response), 0).astype(np.float32)
    ink = np.maximum(ink, jaw_line(labels, landmarks, p.jaw_width))
    ink *= soften((labels >= PERSON).astype(np.float32), 1.0)
    return np.rint((1 - drop_specks(ink)) * WHITE).astype(np.uint8)


def lightness(photo: Image) -> Plane:
    """L* of a photo with local contrast (CLAHE) and without grain (bilateral filter), 0 to 1."""
    channel = np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)[..., 0])
    channel = cv2.createCLAHE(clipLimit=1.5, tileGridSize=(4, 4)).apply(channel)
    return np.asarray(cv2.bilateralFilter(channel, 7, 20, 4), np.float32) / np.float32(WHITE)


def skin_map(photo: Image, labels: Image) -> Plane:
    """How much each pixel is skin, 0 to 1: the face oval, and what has its colour below and beside it (neck, ears)."""
    face = labels == FACE
    if not face.any():
        return np.zeros(labels.shape, np.float32)
    lab = cv2.cvtColor(cv2.GaussianBlur(photo, (0, 0), 3), cv2.COLOR_RGB2LAB).astype(np.float32)
    inner = cv2.erode(face.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    colour = np.median(lab[inner if inner.any() else face], axis=0)
    distance = (lab - colour) / np.array([60, 9, 9], np.float32)
    alike = np.exp(-0.5 * (distance**2).sum(-1)) * (labels >= PERSON)
    oval = cv2.dilate(face.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    return soften(np.maximum(oval, np.clip(2 * alike - 0.4, 0, 1)).astype(np.float32), 3.0)


def feature_map(landmarks: Landmarks, shape: tuple[int, ...]) -> Plane:
    """How much each pixel belongs to eyes, brows, nostrils or mouth, 0 to 1."""
    eyes = [landmarks[0] - (0, 10), landmarks[1] - (0, 10)]
    mouth = (landmarks[3] + landmarks[4]) / 2
    canvas = np.zeros(shape, np.float32)
    for centre, axes in [
        (eyes[0], (46, 30)),
        (eyes[1], (46, 30)),
        (mouth, (60, 30)),
        (landmarks[2] + (0, 6), (38, 20)),
    ]:
        cv2.ellipse(canvas, tuple(int(v) for v in np.rint(centre)), axes, 0, 0, 360, 1.0, -1)
    return soften(canvas, 6.0)


def even_tone(light: Plane, skin: Plane, features: Plane, labels: Image, sigma: float, contrast: float) -> Plane:
    """Lightness with skin brought to one level: dark and light skin, and the shadowed cheek, draw alike.

    Args:
        light: lightness, 0 to 1.
        skin: skin map, 0 to 1.
        features: feature map, 0 to 1.
        labels: label map, for the face that sets the level.
        sigma: scale of the shading that is taken out, pixels.
        contrast: factor on the tone's differences at the features.

    Returns:
        0 to 1; undisturbed skin at about 0.85.
    """
    face = labels == FACE
    reference = float(np.median(light[face])) if face.any() else 0.7
    # Masked mean, so that hair and collar do not darken the skin's own level.
    mean = _weighted_mean(light, skin, sigma)
    # Brows, eyes and lips must not pull their own level down towards themselves.
    bare = _weighted_mean(light, skin * (light > mean - 0.06), sigma)
    mean += features * (bare - mean)
    # L* differences look alike at any depth of skin; ratios would not.
    flat = 0.85 + (1 + features * (contrast - 1)) * (light - mean)
    level = 0.85 / max(reference, 0.45)
    return np.clip(skin * flat + (1 - skin) * light * min(level, 1.4), 0, 1).astype(np.float32)


def tangent_flow(tone: Plane, sigma: float) -> npt.NDArray[np.float32]:
    """Unit vectors along the edges, [H, W, 2] (x, y): the structure tensor's minor direction."""
    dx = cv2.Sobel(tone, cv2.CV_32F, 1, 0, ksize=3)
    dy = cv2.Sobel(tone, cv2.CV_32F, 0, 1, ksize=3)
    xx, xy, yy = (soften(plane, sigma) for plane in (dx * dx, dx * dy, dy * dy))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)


def flow_difference(tone: Plane, flow: npt.NDArray[np.float32], sigma: float, p: NprParameters) -> Plane:
    """Difference of Gaussians across the flow, smoothed along it; negative on the dark side of an edge."""
    height, width = tone.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    across = np.stack([-flow[..., 1], flow[..., 0]], axis=-1)
    outer = sigma * p.ratio
    reach = int(np.ceil(2.5 * outer))
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    inner_weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    outer_weights = np.exp(-0.5 * (offsets / outer) ** 2)
    weights = inner_weights / inner_weights.sum() - outer_weights / outer_weights.sum()
    difference = np.zeros_like(tone)
    for offset, weight in zip(offsets, weights, strict=True):
        difference += np.float32(weight) * _sample(tone, x + offset * across[..., 0], y + offset * across[..., 1])
    total = difference.copy()
    norm = 1.0
    for sign in (1, -1):
        px, py, vx, vy = x, y, sign * flow[..., 0], sign * flow[..., 1]
        for step in range(1, int(2 * p.stroke_sigma) + 1):
            px, py = px + vx, py + vy
            weight = float(np.exp(-0.5 * (step / p.stroke_sigma) ** 2))
            total += np.float32(weight) * _sample(difference, px, py)
            norm += weight
            nx, ny = _sample(flow[..., 0], px, py), _sample(flow[..., 1], px, py)
            # The flow has no sign: keep walking the way we came.
            turn = np.where(nx * vx + ny * vy < 0, -1, 1).astype(np.float32)
            vx, vy = nx * turn, ny * turn
    return np.asarray(total / np.float32(norm), np.float32)


def jaw_line(labels: Image, landmarks: Landmarks, width: float) -> Plane:
    """The lower rim of the face oval as a closed line, ink 0 to 1: filters miss it where chin and neck are alike."""
    face = (labels == FACE).astype(np.uint8)
    contours, _ = cv2.findContours(face, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    canvas = np.zeros(labels.shape, np.uint8)
    if contours:
        rim = max(contours, key=len)[:, 0, :].astype(np.float32)
        rim = np.stack([_smooth_closed(rim[:, 0], 6.0), _smooth_closed(rim[:, 1], 6.0)], axis=1)
        points = np.rint(rim * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [points], True, 255, max(1, round(width)), cv2.LINE_AA, 4)
    y = np.arange(labels.shape[0], dtype=np.float32)[:, None]
    start = float(landmarks[2, 1])  # from the height of the nose tip downwards, fading in
    fade = np.clip((y - start) / 24, 0, 1)
    return (canvas.astype(np.float32) / 255 * fade).astype(np.float32)


def drop_specks(ink: Plane, area: int = 9) -> Plane:
    """Ink without spots smaller than `area` pixels."""
    count, components, stats, _ = cv2.connectedComponentsWithStats((ink > 0.25).astype(np.uint8), connectivity=8)
    if count <= 1:
        return ink
    small = stats[:, cv2.CC_STAT_AREA] < area
    small[0] = False
    return np.where(small[components], 0, ink).astype(np.float32)


def soften(plane: Plane, sigma: float) -> Plane:
    """Gaussian blur."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def _weighted_mean(plane: Plane, weight: Plane, sigma: float) -> Plane:
    weight = weight.astype(np.float32) + np.float32(1e-4)
    return soften(plane * weight, sigma) / soften(weight, sigma)


def _sample(plane: Plane, x: Plane, y: Plane) -> Plane:
    return np.asarray(cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _smooth_closed(values: Plane, sigma: float) -> Plane:
    reach = int(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, mode="wrap"), weights / weights.sum(), mode="valid").astype(np.float32)
