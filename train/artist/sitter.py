"""Who sits for the portrait: the photo in the working frame, its mesh and labels, and its tones put to scale.

Tones are told against the bare skin near them and against the eyes, so that dark and light skin draw alike.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engines.portrait import SIZE, Image, Landmarks
from train.artist import mesh as points
from train.artist.canvas import SIDE, grown, polygon_mask
from train.artist.curves import Curve
from train.npr.edge_flow import Plane, weighted_mean
from train.npr.face_parsing import FACE, PERSON, Mask, Parts, find_parts

CONTRAST: Final = (0.16, 0.5)
"""Least and greatest lightness between skin and pupil that is taken as the portrait's contrast."""
SOFT_SCALE: Final = 2.2
"""Photos enlarged by more than this are sharpened first."""


@dataclass(frozen=True)
class Sitter:
    """A portrait ready to be drawn; planes are [1024, 1024] at twice the drawing's size, `mesh` in their pixels.

    Attributes:
        rgb: uint8 [1024, 1024, 3], RGB.
        lab: uint8 [1024, 1024, 3], CIE Lab as OpenCV stores it.
        inside: where the photo is; beyond it `rgb` repeats the photo's rim.
        labels: uint8, 0 background, 1 person, 2 face oval.
        person: labels 1 and 2.
        face: label 2.
        mesh: float64 [478, 2], x and y.
        eye_distance: of the irises' centres, pixels.
        parts: the regions of the portrait, 0 to 1.
        oval: the mesh's face oval.
        scale: pixels here for a pixel of the photo.
        light: float32, lightness 0 to 1, edges kept.
        bare: float32, 1 on skin that is not in shade.
        skin_light: float32, lightness of the bare skin near each pixel.
        contrast: lightness between skin and pupils.
        darkness: float32, 0 skin to 1 pupil, -0.5 to 1.5.
        tone: 1 less `darkness`.
    """

    rgb: Image
    lab: Image
    inside: Mask
    labels: Image
    person: Mask
    face: Mask
    mesh: Curve
    eye_distance: float
    parts: Parts
    oval: Mask
    scale: float
    light: Plane
    bare: Plane
    skin_light: Plane
    contrast: float
    darkness: Plane
    tone: Plane

    def at(self, group: points.Group | int | tuple[int, ...]) -> Curve:
        """Places of mesh points: [N, 2], or [2] for one point."""
        return np.asarray(self.mesh[np.asarray(group)], np.float64)


@dataclass(frozen=True)
class Cover:
    """Bare skin and what hides it, float32 [1024, 1024], 0 to 1, and how light hair is.

    Attributes:
        skin: face, scalp, ears and neck.
        hair: hair, hats and veils on the head.
        beard: beard and moustache.
        hair_light: median lightness of the hair over that of the face.
    """

    skin: Plane
    hair: Plane
    beard: Plane
    hair_light: float


def seat(photo: Image, transform: npt.ArrayLike, mesh: npt.ArrayLike, labels: Image) -> Sitter:
    """Puts a photo in the working frame.

    Args:
        photo: uint8 [H, W, 3], RGB.
        transform: [2, 3], the similarity from pixels of the photo to those of the aligned 512 x 512 portrait; the
            unit matrix for an aligned portrait.
        mesh: [478, 2 or more], x and y in pixels of the photo.
        labels: uint8 [H, W], 0 background, 1 person, 2 face oval.

    Raises:
        ValueError: If the mesh has another number of points, or the labels another size than the photo.
    """
    mesh = np.asarray(mesh, np.float64)[:, :2]
    if len(mesh) != points.POINTS:
        raise ValueError(f"the mesh has {len(mesh)} points: {points.POINTS} are needed")
    if labels.shape != photo.shape[:2]:
        raise ValueError(f"labels of {labels.shape[::-1]} do not fit a photo of {photo.shape[1::-1]} pixels")
    shown = framed(photo)
    labels = labels * shown
    aligned = np.vstack([np.asarray(transform, np.float64), (0, 0, 1)])
    # The middle of pixel x of the drawing lies between pixels 2 x and 2 x + 1 here.
    matrix = (np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]) @ aligned)[:2]
    scale = float(np.hypot(*matrix[:, 0]))
    source = cv2.GaussianBlur(photo, (0, 0), 0.45 / scale) if scale < 0.7 else photo
    rgb = _warped(source, matrix, cv2.INTER_CUBIC)
    inside = _warped(shown.astype(np.uint8) * np.uint8(255), matrix, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) > 0
    return _seated(
        rgb, inside, _warped(labels, matrix, cv2.INTER_NEAREST), mesh @ matrix[:, :2].T + matrix[:, 2], scale
    )


def framed(photo: Image) -> Mask:
    """Where a photo shows anything, bool [H, W]: all of it, or the disc of a round avatar.

    A round avatar has one plain colour in the corners beyond a circle at its middle, and other colours within.
    """
    height, width = photo.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    away = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) / (min(height, width) / 2)
    everything = np.ones((height, width), bool)
    if max(height, width) > 1.05 * min(height, width):
        return everything
    corners = photo[away > 1.04].astype(np.float32)
    plain = np.median(corners, axis=0)
    if (np.abs(corners - plain).max(axis=1) < 14).mean() < 0.97:
        return everything
    unlike = np.abs(photo.astype(np.float32) - plain).max(axis=-1) > 20
    ring, diagonal = (away > 0.90) & (away < 0.97), np.abs(np.abs(x - width / 2) - np.abs(y - height / 2)) < 0.3 * width
    return away < 0.985 if unlike[ring & diagonal].mean() > 0.8 else everything


def _seated(rgb: Image, inside: Mask, labels: Image, mesh: Curve, scale: float) -> Sitter:
    lab = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.uint8)
    light = _lightness(lab, scale)
    small = np.asarray(cv2.resize(rgb, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)
    found = find_parts(small, np.ascontiguousarray(labels[::2, ::2]), _landmarks(mesh))
    parts = Parts(*(np.asarray(cv2.resize(plane, (SIDE, SIDE)), np.float32) for plane in found))
    oval = polygon_mask(mesh[list(points.OVAL)])
    skin = ((parts.skin > 0.6) & oval).astype(np.float32)
    bare = (skin * (light > weighted_mean(light, skin, 30) - 0.04)).astype(np.float32)
    skin_light = weighted_mean(light, bare, 40)
    below = (skin_light - light)[grown(_eyes(mesh), 4)]
    contrast = float(np.clip(np.percentile(below, 92) if below.size else 0, *CONTRAST))
    darkness = np.clip((skin_light - light) / contrast, -0.5, 1.5).astype(np.float32)
    return Sitter(
        rgb=rgb,
        lab=lab,
        inside=inside,
        labels=labels,
        person=labels >= PERSON,
        face=labels == FACE,
        mesh=mesh,
        eye_distance=float(np.linalg.norm(mesh[points.IRIS_CENTRES[0]] - mesh[points.IRIS_CENTRES[1]])),
        parts=parts,
        oval=oval,
        scale=scale,
        light=light,
        bare=bare,
        skin_light=skin_light,
        contrast=contrast,
        darkness=darkness,
        tone=(1 - darkness).astype(np.float32),
    )


def _warped(image: Image, matrix: npt.NDArray[np.float64], method: int, border: int = cv2.BORDER_REPLICATE) -> Image:
    return np.asarray(cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=method, borderMode=border), np.uint8)


def _lightness(lab: Image, scale: float) -> Plane:
    light = lab[..., 0]
    if scale > SOFT_SCALE:
        light = cv2.addWeighted(light, 1.6, cv2.GaussianBlur(light, (0, 0), 0.6 * scale), -0.6, 0)
    return np.asarray(cv2.bilateralFilter(light, 5, 16, 2.5), np.float32) / np.float32(255)


def _landmarks(mesh: Curve) -> Landmarks:
    """Eyes, nose tip and mouth corners in pixels of the drawing."""
    chosen = mesh[[*points.IRIS_CENTRES, points.NOSE_TIP, *points.MOUTH_CORNERS]]
    return np.rint((chosen - 0.5) / 2).astype(np.float32)


def _eyes(mesh: Curve) -> Mask:
    eyes = np.zeros((SIDE, SIDE), bool)
    for upper, lower in zip(points.UPPER_LIDS, points.LOWER_LIDS, strict=True):
        eyes |= polygon_mask(mesh[list(upper + lower[-2:0:-1])])
    return eyes
