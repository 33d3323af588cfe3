"""A head painted for the tests of the artist, and a portrait of somebody who does not exist, each seated once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engines.portrait import Image
from train.artist import mesh
from train.artist.regions import Regions, find_regions
from train.artist.sitter import Sitter, seat

Colour = tuple[int, int, int]
Portrait = tuple[Image, npt.NDArray[np.float64], npt.NDArray[np.float32], Image]
Head = Callable[..., tuple[Sitter, Regions]]
SYNTHETIC = "0012"
"""A face that nobody has (faker-js, CC0)."""
SKIN, HAIR, CLOTH, WALL = (205, 160, 135), (48, 34, 28), (60, 80, 150), (190, 200, 205)
CENTRE, AXES = (256, 290), (95, 130)


@pytest.fixture(scope="session")
def synthetic(shared: Path) -> Callable[[str], Portrait]:
    """Photo, transform, mesh and labels of a face that nobody has (faker-js, CC0), by its number."""

    def found(name: str) -> Portrait:
        folder = shared / "portraits"
        photo = np.asarray(cv2.imread(str(folder / "photos" / f"{name}.jpg"))[..., ::-1], np.uint8)
        labels = np.asarray(cv2.imread(str(folder / "labels" / f"{name}.png"), cv2.IMREAD_GRAYSCALE), np.uint8)
        meshes = np.load(folder / "mesh478.npz")
        points = meshes["points"][list(meshes["names"]).index(f"{name}.jpg")]
        eyes = points[[468, 473], :2]
        scale = 110 / np.linalg.norm(eyes[1] - eyes[0])
        shift = np.array([256, 250]) - scale * eyes.mean(axis=0)
        transform = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        return np.ascontiguousarray(photo), transform, points, labels

    return found


@pytest.fixture(scope="session")
def portrait(synthetic: Callable[[str], Portrait]) -> Portrait:
    """Photo, transform, mesh and labels of a synthetic face."""
    return synthetic(SYNTHETIC)


@pytest.fixture(scope="session")
def sitter(portrait: Portrait) -> Sitter:
    """The synthetic face, seated."""
    return seat(*portrait)


@pytest.fixture(scope="session")
def head() -> Head:
    """Makes a painted head and its regions, see `_painted`; equal heads are made once."""

    @cache
    def made(*, hair: bool = True, beard: bool = False, cloth: Colour = CLOTH) -> tuple[Sitter, Regions]:
        photo, labels = _painted(hair=hair, beard=beard, cloth=cloth)
        seated = seat(photo, np.eye(2, 3), _mesh(), labels)
        return seated, find_regions(seated)

    return made


def _mesh() -> npt.NDArray[np.float64]:
    """A face mesh of which only what the tests need is in place: oval, eyes, brows, nose and mouth."""
    points = np.tile(np.array([256.0, 300.0]), (mesh.POINTS, 1))
    turn = np.linspace(-np.pi / 2, 1.5 * np.pi, len(mesh.OVAL), endpoint=False)
    points[list(mesh.OVAL)] = np.stack([256 + 95 * np.cos(turn), 290 + 130 * np.sin(turn)], axis=1)

    def line(group: tuple[int, ...], start: tuple[float, float], end: tuple[float, float]) -> None:
        points[list(group)] = np.linspace(start, end, len(group))

    for side, (outer, inner) in enumerate(((175, 230), (337, 282))):
        line(mesh.UPPER_LIDS[side], (outer + 8, 237), (inner - 8, 237))
        line(mesh.LOWER_LIDS[side], (outer + 8, 245), (inner - 8, 245))
        for group, height in ((mesh.CREASES, 230), (mesh.SOCKETS, 226), (mesh.EYE_BAGS, 254)):
            line(group[side], (outer, height), (inner, height))
        line(mesh.BROW_TOPS[side], (outer, 212), (inner, 212))
        line(mesh.BROW_BOTTOMS[side], (outer, 220), (inner, 220))
        points[mesh.IRIS_CENTRES[side]] = ((outer + inner) / 2, 241)
    for group, height in ((mesh.LIP_TOP, 348), (mesh.LIP_BOTTOM, 364), (mesh.MOUTH_TOP, 355), (mesh.MOUTH_BOTTOM, 357)):
        line(group, (220, 356), (292, 356))
        points[list(group[1:-1]), 1] = height
    nose = np.linspace(0, 2 * np.pi, len(mesh.NOSE), endpoint=False)
    points[list(mesh.NOSE)] = np.stack([256 + 22 * np.cos(nose), 305 + 14 * np.sin(nose)], axis=1)
    points[[mesh.NOSE_BASE, mesh.NOSE_TIP]] = ((256, 322), (256, 308))
    return points


def _ellipse(centre: tuple[int, int], axes: tuple[int, int], start: int = 0, end: int = 360) -> npt.NDArray[np.bool_]:
    return np.asarray(cv2.ellipse(np.zeros((512, 512), np.uint8), centre, axes, 0, start, end, 1, -1) > 0)


def _painted(*, hair: bool, beard: bool, cloth: Colour) -> tuple[Image, Image]:
    """A frontal head on a plain wall, lightly grained as photos are, and its labels.

    Args:
        hair: strands on the head; else it is bald.
        beard: a full beard.
        cloth: colour.
    """
    grain = np.random.default_rng(0).normal(0, 2.5, (512, 512, 1))
    photo, labels = np.full((512, 512, 3), WALL, np.uint8), np.zeros((512, 512), np.uint8)
    strands = np.zeros((512, 512), np.float32)
    skull = _ellipse((256, 240), (130, 150)) if hair else _ellipse((256, 255), (103, 150))
    photo[skull], labels[skull] = HAIR if hair else SKIN, 1
    if hair:
        for x in range(100, 420, 9):
            cv2.line(strands, (256 + (x - 256) // 2, 90), (x, 330), 45, 2)
    shown = cv2.GaussianBlur(strands, (0, 0), 0.8) * (np.abs(photo.astype(int) - HAIR).max(axis=-1) == 0)
    shoulders, face = _ellipse((256, 560), (220, 130)), _ellipse(CENTRE, AXES)
    cv2.rectangle(photo, (205, 380), (307, 450), SKIN, -1)
    cv2.rectangle(labels, (205, 380), (307, 450), 1, -1)
    photo[shoulders], labels[shoulders] = cloth, 1
    photo[face], labels[face] = SKIN, 2
    shown[face] = 0
    picture = photo + shown[..., None] + grain
    if beard:
        area = _ellipse(CENTRE, (92, 127), 15, 165)
        area[:325] = False
        hairs = np.random.default_rng(1).normal(0, 28, (512, 512))
        tufts = np.array(HAIR) + 15 + cv2.GaussianBlur(hairs, (0, 0), 1)[..., None]
        picture = np.where(area[..., None], tufts, picture)
    for side in (200, 311):
        cv2.circle(picture, (side, 241), 7, (30, 25, 25), -1)
    cv2.ellipse(picture, (256, 356), (36, 8), 0, 0, 360, (170, 90, 90), -1)
    return np.clip(picture, 0, 255).astype(np.uint8), labels
