"""Drawings of a real photo, moved about, are found again; those of another are told apart."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from apdraw_cli.conversion.decode import decode, read
from apdraw_cli.datasets.options import MIN_AGREEMENT
from apdraw_cli.datasets.registration import Registration, register, warp_drawing
from apdraw_cli.faces.align import Transform, apply, similarity, warp_photo
from apdraw_cli.faces.segment import PortraitSegmenter
from apdraw_cli.faces.tiny_retinaface import TinyRetinaFace
from engines.portrait import SIZE, TEMPLATE, Image
from train.npr import drawing as npr

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
EDGE = np.array([(100, 256), (400, 256), (256, 120), (256, 450)], np.float32)
POINTS = np.concatenate([TEMPLATE, EDGE])


@dataclass(frozen=True)
class Drawn:
    photo: Image
    transform: Transform
    portrait: Image
    drawing: Image  # aligned, [512, 512, 3]
    full: Image  # over the photo, [H, W, 3]


@pytest.fixture(scope="module")
def detector() -> TinyRetinaFace:
    """It compiles its network for each size of picture, and keeps that."""
    return TinyRetinaFace()


def drawn(name: str, detector: TinyRetinaFace) -> Drawn:
    photo = decode(read(SAMPLES / name))
    transform = similarity(detector.detect(photo)[0].landmarks)
    portrait = warp_photo(photo, transform, replicate=True)
    grey = npr.draw(portrait, PortraitSegmenter().labels(portrait), TEMPLATE).drawing
    drawing = np.repeat(grey[..., None], 3, axis=2)
    full = cv2.warpAffine(
        drawing,
        transform,
        photo.shape[1::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderValue=(255,) * 3,
    )
    return Drawn(photo, transform, portrait, drawing, np.asarray(full, np.uint8))


@pytest.fixture(scope="module")
def astronaut(detector: TinyRetinaFace) -> Drawn:
    return drawn("astronaut.png", detector)


@pytest.fixture(scope="module")
def hopper(detector: TinyRetinaFace) -> Drawn:
    return drawn("grace_hopper.jpg", detector)


Register = Callable[[Image, Drawn], Registration]


@pytest.fixture(scope="module")
def registered(detector: TinyRetinaFace) -> Register:
    def found(drawing: Image, of: Drawn) -> Registration:
        height, width = of.photo.shape[:2]
        return register(drawing, (height, width), of.portrait, of.transform, detector)

    return found


def misplaced(found: Registration, moved: Transform, of: Drawn) -> float:
    """The largest way that a point of the face is off, in aligned pixels; `moved`: photo to drawing pixels."""
    to_photo = cv2.invertAffineTransform(of.transform)
    there = apply(moved, apply(np.asarray(to_photo, np.float64), POINTS))
    return float(np.abs(apply(found.transform, there) - POINTS).max())


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_drawing_of_the_photos_shape_lies_where_the_photo_lies(
    registered: Register, hopper: Drawn, factor: float
) -> None:
    height, width = (round(side * factor) for side in hopper.full.shape[:2])
    found = registered(np.asarray(cv2.resize(hopper.full, (width, height), interpolation=cv2.INTER_AREA)), hopper)
    assert not found.moved
    scale = np.array([width / hopper.full.shape[1], height / hopper.full.shape[0]])
    exact = np.array([[scale[0], 0, scale[0] / 2 - 0.5], [0, scale[1], scale[1] / 2 - 0.5]])
    assert misplaced(found, exact, hopper) < 0.01
    assert found.agreement > MIN_AGREEMENT


@pytest.mark.parametrize(
    ("angle", "scale", "shift", "shape"),
    [
        (0, 1.0, (25, -18), (600, 512)),  # shifted
        (0, 0.6, (-10, 8), (300, 330)),  # smaller, another shape
        (6, 1.0, (0, 0), (560, 520)),  # turned
        (-4, 1.5, (-60, -120), (620, 500)),  # larger, and a crop
    ],
)
def test_a_moved_drawing_is_found(
    registered: Register,
    astronaut: Drawn,
    angle: float,
    scale: float,
    shift: tuple[float, float],
    shape: tuple[int, int],
) -> None:
    face = apply(np.asarray(cv2.invertAffineTransform(astronaut.transform)), TEMPLATE).mean(axis=0)
    moved = cv2.getRotationMatrix2D((float(face[0]), float(face[1])), angle, scale)
    moved[:, 2] += np.array([shape[1] / 2, shape[0] / 2]) - face + shift
    drawing = cv2.warpAffine(astronaut.full, moved, shape[::-1], borderValue=(255,) * 3)
    found = registered(np.asarray(drawing, np.uint8), astronaut)
    assert found.moved
    assert found.agreement > MIN_AGREEMENT
    assert misplaced(found, moved, astronaut) < 4


def test_a_slightly_shifted_drawing_of_the_same_shape_is_moved_back(registered: Register, astronaut: Drawn) -> None:
    moved = np.array([[1, 0, 9], [0, 1, -7]], np.float64)
    drawing = cv2.warpAffine(astronaut.full, moved, astronaut.full.shape[1::-1], borderValue=(255,) * 3)
    found = registered(np.asarray(drawing, np.uint8), astronaut)
    assert found.moved
    assert misplaced(found, moved, astronaut) < 4


def test_an_aligned_drawing_fills_the_aligned_frame(registered: Register, hopper: Drawn) -> None:
    found = registered(hopper.drawing, hopper)
    assert not found.moved
    assert np.allclose(found.transform, np.eye(2, 3))
    assert np.array_equal(warp_drawing(hopper.drawing, found.transform), hopper.drawing[..., 0])


def test_anothers_drawing_agrees_too_little(registered: Register, astronaut: Drawn, hopper: Drawn) -> None:
    assert registered(hopper.drawing, astronaut).agreement < MIN_AGREEMENT
    assert registered(astronaut.full, hopper).agreement < MIN_AGREEMENT
    noise = np.random.default_rng(0).integers(0, 2, (300, 400, 1)).repeat(3, axis=2) * 255
    assert registered(noise.astype(np.uint8), astronaut).agreement < MIN_AGREEMENT
    assert registered(np.full((300, 400, 3), 255, np.uint8), astronaut).agreement < MIN_AGREEMENT


def test_outside_a_drawing_the_page_is_white(astronaut: Drawn) -> None:
    small = np.zeros((100, 100, 3), np.uint8)
    laid = warp_drawing(small, np.array([[1, 0, 50], [0, 1, 50]], np.float64))
    assert laid.shape == (SIZE, SIZE)
    assert laid[100, 100] == 0
    assert laid[300, 300] == 255
