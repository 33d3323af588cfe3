"""Soft masks of skin, hair, beard, clothes, eyes, brows, nose and mouth, found by colour models and landmarks.

The label map knows the person and the face oval; the landmarks place eyes, brows, nose and mouth. What is left is told
apart by two colour models learnt from the portrait itself: skin from the inner face, hair from a band above the oval.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from engines.portrait import Image, Landmarks
from train.npr.edge_flow import Plane, soften, weighted_mean

PERSON, FACE = 1, 2
"""Labels of a label map: person, and the face oval within it; 0 is background."""

Mask = npt.NDArray[np.bool_]


class Parts(NamedTuple):
    """How much each pixel belongs to a part, float32 [H, W], 0 to 1. Skin, hair and clothes add up to the person."""

    person: Plane
    skin: Plane
    hair: Plane
    clothes: Plane
    beard: Plane
    eyes: Plane
    brows: Plane
    nose: Plane
    mouth: Plane


class _Place(NamedTuple):
    """Pixel coordinates, and where the face's middle, chin, brows and mouth are in them."""

    x: Plane
    y: Plane
    middle: float
    half_width: float
    chin: float
    brow: float
    mouth: float
    beside: Plane  # distance from the face oval


def find_parts(photo: Image, labels: Image, landmarks: Landmarks) -> Parts:
    """Tells the parts of a portrait apart.

    Args:
        photo: uint8 [512, 512, 3], RGB.
        labels: uint8 [512, 512], 0 background, 1 person, 2 face oval.
        landmarks: float32 [5, 2], pixels.
    """
    person, face = labels >= PERSON, labels == FACE
    centre = (landmarks[3] + landmarks[4]) / 2
    reach = int(abs(landmarks[4, 0] - landmarks[3, 0]) / 2)
    eyes = ellipses(labels.shape, landmarks[:2] + _down(1), (38, 19), 3)
    brows = ellipses(labels.shape, landmarks[:2] - _down(24), (46, 17), 4) * (1 - eyes)
    nose = ellipses(labels.shape, landmarks[2:3] + _down(8), (34, 16), 3)
    mouth = ellipses(labels.shape, centre[None] + _down(7), (reach + 12, 27), 3)
    whole = person.astype(np.float32)
    if not face.any():
        nothing = np.zeros_like(whole)
        return Parts(whole, nothing, nothing, whole, nothing, eyes, brows, nose, mouth)
    place = _place(face, landmarks)
    colour = cv2.cvtColor(cv2.GaussianBlur(photo, (0, 0), 2), cv2.COLOR_RGB2LAB).astype(np.float32) - (0, 128, 128)
    colour = colour.astype(np.float32)
    upper = face & (place.y < landmarks[2, 1])
    usual = np.median(colour[upper if upper.any() else face], axis=0)
    off_skin = _distance_from_skin(colour, face & (eyes + brows < 0.2), landmarks, place)
    off_hair = _distance_from_hair(colour, off_skin, usual, _roughness(photo), person, face, place)
    lips = ellipses(labels.shape, centre[None] + _down(4), (reach + 4, 22), 5)
    light = colour[..., 0] / max(float(usual[0]), 40)
    beard = _beard(light, off_skin, off_hair, face & (place.y > landmarks[2, 1] + 8)) * (1 - lips)
    chin = face & (place.y > place.mouth + 30)
    # A full beard hides the neck, whose shade would be excused otherwise.
    neck = _neck(place) * np.float32(1 - min(1.0, 2 * float(beard[chin].mean()) if chin.any() else 0.0))
    skin = _skin(off_skin, off_hair, light, person, face, neck, place)
    skin = np.maximum(skin, _soft(_shaded_neck(colour, usual, person & ~face, place), 2) * whole * (1 - beard))
    hair = _hair(off_hair, person, skin, place)
    return Parts(whole, skin, hair, whole * (1 - skin) * (1 - hair), beard, eyes, brows, nose, mouth)


def _place(face: Mask, landmarks: Landmarks) -> _Place:
    y, x = np.mgrid[0 : face.shape[0], 0 : face.shape[1]].astype(np.float32)
    columns, rows = np.nonzero(face.any(0))[0], np.nonzero(face.any(1))[0]
    beside = np.asarray(cv2.distanceTransform((~face).astype(np.uint8), cv2.DIST_L2, 3), np.float32)
    middle, half_width = float(columns.mean()), float(columns[-1] - columns[0]) / 2
    brow, mouth = float(landmarks[:2, 1].mean()) - 20, float(landmarks[3:, 1].mean())
    return _Place(x, y, middle, half_width, float(rows[-1]), brow, mouth, beside)


def _distance_from_skin(colour: Plane, face: Mask, landmarks: Landmarks, place: _Place) -> Plane:
    """Squared Mahalanobis-like distance from the face's colour, lenient towards shade."""
    core = cv2.erode(face.astype(np.uint8), np.ones((15, 15), np.uint8)).astype(bool) & (place.y < landmarks[2, 1] + 20)
    core = core if core.sum() > 200 else place.beside == 0
    light = colour[..., 0]
    low, high = np.percentile(light[core], (25, 97))
    core &= (light >= low) & (light <= high)
    mean, spread = colour[core].mean(0), colour[core].std(0)
    # In shade skin keeps its hue while lightness and chroma fall together; the neck lies in the chin's shade.
    neck = _neck(place) * ~face
    shade = np.clip(light / max(mean[0], 1), 0.55 - 0.2 * neck, 1.1)
    red, yellow = ((colour[..., i] - mean[i] * shade) / max(1.5 * float(spread[i]), 5) for i in (1, 2))
    chroma = red**2 + yellow**2
    darker = (38 * np.clip(mean[0] / 160, 0.85, 1) + 30 * neck).astype(np.float32)
    first = chroma + ((light - mean[0]) / np.where(light < mean[0], darker, 30)) ** 2
    # Light from one side: each pixel is compared with the skin near it.
    sure = (face * (place.y < landmarks[2, 1] + 20) * np.exp(-0.5 * first)).astype(np.float32)
    local = mean[0] + weighted_mean(np.where(face, light - mean[0], 0).astype(np.float32), sure, 30)
    return np.asarray(chroma + ((light - local) / np.where(light < local, darker, 30)) ** 2, np.float32)


def _distance_from_hair(
    colour: Plane, off_skin: Plane, skin: Plane, rough: Plane, person: Mask, face: Mask, place: _Place
) -> Plane:
    """The same from the colour of what surrounds the forehead; far from everything where that is skin (bald)."""
    ring = person & (place.beside > 6) & (place.beside < 60) & (place.y < place.brow + 10)
    found = ring & (off_skin > 1.5)
    darker = found & (colour[..., 0] < 0.85 * skin[0])
    if skin[0] < 120 and darker.sum() > 0.25 * ring.sum():
        found = darker  # dark skin shines; the highlights on a forehead are no hair
    middle = np.median(colour[found], axis=0) if found.any() else skin
    inner = ring & (cv2.erode(person.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0)
    core = cv2.erode(face.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    core &= (place.y < place.mouth - 60) & ((place.y < place.brow - 30) | (place.y > place.brow + 50))
    # A scalp may be in the shade or shine, but it is smoother than the face, and red, or partly like the face.
    smooth = inner.any() and core.any() and np.percentile(rough[inner], 25) < 0.65 * np.median(rough[core])
    red = middle[1] / max(middle[0], 1) > 0.7 * skin[1] / max(skin[0], 1)
    bald = smooth and middle[0] > 0.6 * skin[0] and (red or found.sum() < 0.55 * ring.sum())
    if found.sum() <= max(0.15 * ring.sum(), 150) or bald:
        return np.full(off_skin.shape, 1000, np.float32)
    scale = np.maximum(1.3 * colour[found].std(0), (12, 6, 6))
    light, red, yellow = (((colour[..., i] - middle[i]) / scale[i]) ** 2 for i in range(3))
    return np.asarray(light + red + yellow, np.float32)


def _skin(
    off_skin: Plane, off_hair: Plane, light: Plane, person: Mask, face: Mask, neck: Plane, place: _Place
) -> Plane:
    """The face oval without the hair that falls into it, and what is skin around it: scalp, ears, neck."""
    ears = (place.beside < 45) & (place.y > place.brow) & (place.y < place.mouth + 10)
    rim = soften((place.beside < 22).astype(np.float32), 6)
    likely = 4 * np.maximum(1.2 * neck, 0.5 * soften(ears.astype(np.float32), 6)) + 1.5 * rim - 1
    shining = (off_hair > 3 * off_skin + 25) & (off_skin < 10) & (place.y < place.brow)
    alike = (off_skin < 4 + 9 * neck) | shining
    around = (off_hair - off_skin + likely > 0) & alike & person & ~face
    fringe = face & (off_hair + 2 < off_skin) & (off_skin > 4) & (off_hair < 4) & (light < 0.7)
    fringe &= place.y < place.brow - 25
    fringe = _hanging(_opened(fringe, 7), person & ~face & ~around)
    return (np.maximum(_soft(face & ~fringe, 1.5), _soft(_opened(around, 5), 2)) * person).astype(np.float32)


def _shaded_neck(colour: Plane, skin: Plane, person: Mask, place: _Place) -> Mask:
    """The middle of the neck, however dark: in deep shade skin still is as warm, for its lightness, as the face."""
    middle = (np.abs(place.x - place.middle) < 0.62 * place.half_width) & (place.y > place.mouth + 40)
    warmth = colour[..., 1] + colour[..., 2]
    warm = warmth > np.maximum(0.62 * float(skin[1] + skin[2]) * colour[..., 0] / max(float(skin[0]), 1), 9)
    found = _opened(middle & person & warm & (place.y < place.chin + 110), 5)
    closed = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)) > 0
    return np.asarray(closed & person)


def _hair(off_hair: Plane, person: Mask, skin: Plane, place: _Place) -> Plane:
    """What is not skin above the chin, hats and veils too, and below it what hangs on and has the hair's colour."""
    above = (place.y < place.mouth) | ((place.y < place.chin - 20) & (place.beside < 50))
    near = (place.y < place.chin) | (np.abs(place.x - place.middle) < 2.2 * place.half_width)
    hair = _opened(person & (skin < 0.5) & (above | (off_hair < 5)) & near, 5)
    hair = _hanging(hair, hair & (place.y < place.mouth - 60))
    # The rim between hair and skin belongs to both.
    hair |= person & above & (skin < 0.9)
    return (_soft(hair, 1.5) * (1 - skin) * person).astype(np.float32)


def _beard(light: Plane, off_skin: Plane, off_hair: Plane, low: Mask) -> Plane:
    """Dark, rough and unlike skin, on both sides of the face: a shadow or a smile's fold is not all of these."""
    if not low.any():
        return np.zeros_like(light)
    rough = np.sqrt(soften((light - soften(light, 2.5)) ** 2, 5))
    dark = np.clip((0.78 - soften(light, 4)) / 0.18, 0, 1)
    bearded = np.maximum(np.clip(150 * rough - 3, 0, 1), np.clip((off_skin - off_hair) / 3, 0, 1))
    signs = low * dark * np.clip(off_skin / 3 - 0.3, 0, 1) * bearded
    signs = soften(signs.astype(np.float32), 6)
    both = np.minimum(signs, soften(signs[:, ::-1], 6))
    beard: Plane = np.clip(2.2 * soften(both, 3) - 0.3, 0, 1).astype(np.float32)
    return beard


def _roughness(photo: Image) -> Plane:
    light = np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)[..., 0], np.float32)
    return np.sqrt(soften((light - soften(light, 2.5)) ** 2, 4))


def _neck(place: _Place) -> Plane:
    inside = (np.abs(place.x - place.middle) < 0.9 * place.half_width) & (place.y > place.mouth + 10)
    return soften((inside & (place.y < place.chin + 110)).astype(np.float32), 15)


def ellipses(shape: tuple[int, ...], centres: Landmarks, axes: tuple[int, int], blur: float) -> Plane:
    """Soft ellipses, 0 to 1, around points; half axes and the sigma of their rim in pixels."""
    canvas = np.zeros(shape, np.float32)
    for x, y in np.rint(centres):
        cv2.ellipse(canvas, (int(x), int(y)), axes, 0, 0, 360, 1.0, -1)
    return soften(canvas, blur)


def _hanging(mask: Mask, roots: Mask) -> Mask:
    """The connected parts of a mask that touch the roots."""
    _, components = cv2.connectedComponents((mask | roots).astype(np.uint8))
    return mask & np.isin(components, np.unique(components[roots]))


def _down(pixels: float) -> Landmarks:
    return np.array([0, pixels], np.float32)


def _opened(mask: Mask, size: int) -> Mask:
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((size, size), np.uint8))
    return np.asarray(opened, bool)


def _soft(mask: Mask, sigma: float) -> Plane:
    return soften(mask.astype(np.float32), sigma)
