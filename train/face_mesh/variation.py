"""Varies portraits and meshes for training: moves both together, alters the photo, or leaves no face in it."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from engines.portrait import SIZE, WHITE, Image
from train.artist.mesh import IRIS_CENTRES
from train.data.pairs import Floats

Mesh = npt.NDArray[np.float32]
"""float32 [478, 2]: x, y in pixels of the aligned portrait."""


def mirror_permutation(mean: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Which point of a mesh becomes which when the portrait is mirrored: [478], its own inverse.

    Args:
        mean: [478, 2], the mean of many upright meshes, nearly symmetric. Points go with those across its axis so that
            all distances together are least: one by one, close neighbours would be taken for each other.

    Raises:
        ValueError: the mean is not symmetric enough to tell.
    """
    mirrored = mean * (-1, 1) + (2 * float(mean[:, 0].mean()), 0)
    distance = np.linalg.norm(mirrored[:, None] - mean[None], axis=2)
    partner = np.asarray(linear_sum_assignment((distance + distance.T) ** 2)[1], np.intp)
    if not np.array_equal(partner[partner], np.arange(len(mean))):
        raise ValueError("the mean mesh is not symmetric: more portraits are needed")
    return partner


def random_motion(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """An affine transform [2, 3] of the aligned frame, about the face's middle, beyond what alignment leaves."""
    angle = rng.normal(0, 6) if rng.random() < 0.8 else rng.uniform(-18, 18)
    matrix = cv2.getRotationMatrix2D((256, 308), float(angle), float(np.exp(rng.normal(0, 0.06))))
    stretch = np.array([[np.exp(rng.normal(0, 0.03)), rng.normal(0, 0.03)], [0, np.exp(rng.normal(0, 0.03))]])
    matrix[:, :2] = stretch @ matrix[:, :2]
    matrix[:, 2] += np.array([256, 308]) - matrix @ [256, 308, 1] + rng.normal(0, 6, 2)
    return np.asarray(matrix, np.float64)


def move(mesh: Mesh, motion: npt.NDArray[np.float64]) -> Mesh:
    """The mesh under an affine transform [2, 3]."""
    return (mesh @ motion[:, :2].T + motion[:, 2]).astype(np.float32)


def mirrored_mesh(mesh: Mesh, partner: npt.NDArray[np.intp]) -> Mesh:
    """The mesh of the mirrored portrait; see `mirror_permutation`."""
    return np.asarray((mesh * (-1, 1) + (SIZE - 1, 0))[partner], np.float32)


def moved(photo: Image, mesh: Mesh, partner: npt.NDArray[np.intp], rng: np.random.Generator) -> tuple[Image, Mesh]:
    """Portrait and mesh moved together, mirrored half the time."""
    motion = random_motion(rng)
    mesh = move(mesh, motion)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
    photo = np.asarray(
        cv2.warpAffine(photo, motion, (SIZE, SIZE), borderMode=border, borderValue=(WHITE,) * 3), np.uint8
    )
    if rng.random() < 0.5:
        photo, mesh = np.asarray(cv2.flip(photo, 1), np.uint8), mirrored_mesh(mesh, partner)
    return photo, mesh


def without_face(photo: Image, rng: np.random.Generator) -> Image:
    """What is no face, or none where one should be: turned, shifted, of another size, shuffled, a detail, noise."""
    kind = rng.integers(0, 5)
    if kind == 0:
        noise = rng.uniform(0, WHITE, (int(rng.integers(3, 65)), int(rng.integers(3, 65)), 3)).astype(np.uint8)
        return np.asarray(cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)
    if kind == 1:
        side = int(rng.choice([64, 128]))
        tiles = photo.reshape(SIZE // side, side, SIZE // side, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        tiles = rng.permutation(tiles).reshape(SIZE // side, SIZE // side, side, side, 3)
        return np.ascontiguousarray(tiles.swapaxes(1, 2).reshape(SIZE, SIZE, 3))
    if kind == 2:
        side = int(rng.integers(60, 200))
        left = int(rng.integers(0, SIZE - side))
        top = int(rng.integers(360, SIZE - side)) if side < 150 and rng.random() < 0.6 else 0
        detail = photo[top : top + side, left : left + side]
        return np.asarray(cv2.resize(detail, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)
    angle, scale, shift = 0.0, 1.0, np.zeros(2)
    if kind == 3:
        angle = float(rng.uniform(45, 315))
    elif rng.random() < 0.5:
        scale = float(rng.choice([rng.uniform(0.25, 0.6), rng.uniform(1.7, 3.0)]))
    else:
        direction = rng.uniform(0, 2 * np.pi)
        shift = rng.uniform(70, 220) * np.array([np.cos(direction), np.sin(direction)])
    matrix = cv2.getRotationMatrix2D((256, 308), angle, scale)
    matrix[:, 2] += shift
    return np.asarray(cv2.warpAffine(photo, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def photographed(photo: Image, others: list[Image], mesh: Mesh, rng: np.random.Generator) -> Image:
    """The portrait as other cameras, light and hands before it would have it; its geometry stays."""
    if rng.random() < 0.15:
        photo = _occluded(photo, others[rng.integers(len(others))], mesh, rng)
    if rng.random() < 0.35:  # a small photo, brought to size
        side = int(SIZE / rng.uniform(1.3, 4.5))
        small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
        photo = np.asarray(cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR), np.uint8)
    elif rng.random() < 0.15:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), float(rng.uniform(0.5, 2.0))), np.uint8)
    ramp = np.arange(256, dtype=np.float32) / WHITE
    gamma, contrast, shift = np.exp(rng.normal(0, 0.3)), rng.uniform(0.7, 1.25), rng.uniform(-0.08, 0.08)
    tint = rng.uniform(0.88, 1.12, 3)
    table = ((ramp**gamma - 0.5) * contrast + 0.5 + shift)[:, None] * tint
    photo = np.asarray(cv2.LUT(photo, np.clip(table * WHITE, 0, WHITE).astype(np.uint8)[None]), np.uint8)
    if rng.random() < 0.12:
        photo = np.repeat(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if rng.random() < 0.3:  # light from one side
        y, x = np.mgrid[-1:1:16j, -1:1:16j].astype(np.float32)
        angle, bend, strength = rng.uniform(0, 2 * np.pi), rng.uniform(1, 6), rng.uniform(0.1, 0.6)
        light = 1 - strength / (1 + np.exp(bend * (np.cos(angle) * x + np.sin(angle) * y + rng.uniform(-0.4, 0.4))))
        field = cv2.resize((256 * light).astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        photo = np.asarray(cv2.multiply(photo, cv2.merge([field] * 3), scale=1 / 256), np.uint8)
    if rng.random() < 0.15:
        noise = np.empty(photo.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, 0, float(rng.uniform(2, 9)))
        photo = np.asarray(cv2.add(photo, noise, dtype=cv2.CV_8U), np.uint8)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))]
        photo = np.asarray(cv2.imdecode(cv2.imencode(".jpg", photo, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return photo


def _occluded(photo: Image, other: Image, mesh: Mesh, rng: np.random.Generator) -> Image:
    """A blob of another photo, or of one colour, before the face; or bars over both eyes as dark glasses would be."""
    cover = np.zeros((SIZE, SIZE), np.uint8)
    if rng.random() < 0.3:
        for eye in IRIS_CENTRES:
            x, y = (int(value) for value in mesh[eye])
            axes = (int(rng.uniform(28, 44)), int(rng.uniform(18, 34)))
            cv2.ellipse(cover, (x, y), axes, 0, 0, 360, WHITE, -1)
    else:
        x, y = (int(value) for value in mesh[rng.integers(len(mesh))])
        axes = (int(rng.uniform(15, 70)), int(rng.uniform(15, 70)))
        cv2.ellipse(cover, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, WHITE, -1)
    share = cv2.GaussianBlur(cover, (0, 0), 1.5)[..., None] / np.float32(WHITE)
    share = share * np.float32(rng.uniform(0.6, 1.0))
    before: Floats | Image = other
    if rng.random() < 0.5:
        before = np.broadcast_to(rng.uniform(0, 200, 3).astype(np.float32), photo.shape)
    return np.asarray(photo * (1 - share) + before * share).astype(np.uint8)
