"""Photos that lie on their side or head are drawn as upright ones are, or not at all."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from apdraw_cli.faces.align import apply
from apdraw_cli.faces.detect import Face
from apdraw_cli.faces.doubts import roll
from apdraw_cli.faces.extract import DetectedPortrait, PortraitExtractor
from apdraw_cli.faces.mesh import FaceMesher
from apdraw_cli.faces.tiny_retinaface import TinyRetinaFace
from apdraw_cli.faces.upright import UprightFinder, _turned_back
from engines.errors import PhotoError
from engines.portrait import TEMPLATE

SAMPLES = Path(__file__).resolve().parents[2] / "samples"

Picture = npt.NDArray[np.uint8]

EYE_DISTANCE = float(TEMPLATE[1, 0] - TEMPLATE[0, 0])


def read(path: Path) -> Picture:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)


def turned(photo: Picture, turns: int) -> Picture:
    return np.ascontiguousarray(np.rot90(photo, turns))


def back(points: npt.NDArray[np.float32], turns: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Points of a turned photo in the photo, whose shape is given."""
    bottom, right = shape[0] - 1, shape[1] - 1
    x, y = points.T
    return np.stack({1: (right - y, x), 2: (right - x, bottom - y), 3: (y, bottom - x)}[turns], axis=1)


@pytest.fixture(scope="module")
def extractor() -> PortraitExtractor:
    return PortraitExtractor()


@pytest.fixture(scope="module")
def finder() -> UprightFinder:
    mesher = FaceMesher()
    return UprightFinder(TinyRetinaFace(), lambda: mesher)


def far(one: DetectedPortrait, other: npt.NDArray[np.float32]) -> float:
    """How far landmarks lie from those of a portrait, in eye distances."""
    scale = float(np.hypot(*one.transform[:, 0]))
    return float(np.linalg.norm(one.face.landmarks - other, axis=1).mean()) * scale / EYE_DISTANCE


@pytest.mark.parametrize("sample", ["astronaut.png", "grace_hopper.jpg"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_on_its_side_is_drawn_as_the_upright_one(extractor: PortraitExtractor, sample: str, turns: int) -> None:
    photo = read(SAMPLES / sample)
    (upright,) = extractor.extract(photo, {})
    (found,) = extractor.extract(turned(photo, turns), {})
    assert far(upright, back(found.face.landmarks, turns, photo.shape)) < 0.12
    assert np.abs(apply(found.transform, found.face.landmarks) - TEMPLATE).max() < 20
    assert [warning.code for warning in found.warnings] == [warning.code for warning in upright.warnings]
    difference = np.abs(found.portrait.photo.astype(int) - upright.portrait.photo).mean()
    assert difference < 12


def test_boxes_and_landmarks_are_turned_back() -> None:
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[10, 20] = 255
    for turns in (1, 2, 3):
        (y,), (x,) = np.nonzero(turned(photo, turns)[..., 0])
        face = Face((float(x), float(y), 1.0, 1.0), 0.9, np.full((5, 2), (x, y), np.float32))
        found = _turned_back(face, turns, 40, 60)
        assert found.box == (20.0, 10.0, 1.0, 1.0)
        assert (found.landmarks == (20, 10)).all()


def test_a_small_face_that_is_found_in_another_turn_only(finder: UprightFinder) -> None:
    page = np.full((900, 1200, 3), 128, np.uint8)
    page[200:712, 300:812] = read(SAMPLES / "astronaut.png")
    lying = turned(page, 1)
    (judged,) = finder.judge(lying, [])
    assert judged.is_plausible
    assert roll(judged.face.landmarks) == pytest.approx(90, abs=15)


def test_what_is_no_face_in_any_turn_is_left_out_or_told_of(finder: UprightFinder) -> None:
    rng = np.random.default_rng(5)
    board = cv2.resize(rng.uniform(0, 255, (30, 40, 3)).astype(np.uint8), (800, 600), interpolation=cv2.INTER_CUBIC)
    likeness = np.array([(350, 250), (450, 252), (402, 310), (360, 360), (440, 362)], np.float32)
    upright = Face((300.0, 180.0, 200.0, 240.0), 0.8, likeness)
    photo = np.asarray(board, np.uint8)
    assert [each.is_plausible for each in finder.judge(photo, [upright])] == [False]
    lying = Face(upright.box, 0.8, np.ascontiguousarray(likeness[:, ::-1]))
    assert finder.judge(photo, [lying]) == []


def test_of_several_faces_the_largest_that_is_one(finder: UprightFinder) -> None:
    photo = np.full((600, 1100, 3), 90, np.uint8)
    photo[40:552, 40:552] = read(SAMPLES / "astronaut.png")
    likeness = (TEMPLATE * 0.9 + (560, 20)).astype(np.float32)
    blank = Face((600.0, 100.0, 400.0, 450.0), 0.8, likeness)
    judged = finder.judge(photo, [blank])
    assert [each.is_plausible for each in judged] == [False, True]
    assert judged[1].face.landmarks[2, 0] < 552


def test_a_photo_without_a_face_says_no_more(extractor: PortraitExtractor) -> None:
    with pytest.raises(PhotoError, match=r"^no face found$"):
        extractor.extract(np.full((300, 400, 3), 128, np.uint8), {})


@pytest.mark.parametrize("name", ["0000_90.jpg", "0001_180.jpg", "0003_270.jpg"])
def test_portraits_that_lie(shared: Path, extractor: PortraitExtractor, name: str) -> None:
    photo = read(shared / "portraits" / "photos" / f"{name[:4]}.jpg")
    (expected,) = extractor.extract(photo, {})
    (found,) = extractor.extract(read(shared / "cases" / "1-sideways" / name), {})
    turns = int(name[5:-4]) // 90
    assert far(expected, back(found.face.landmarks, turns, photo.shape)) < 0.05
    assert np.abs(found.portrait.photo.astype(int) - expected.portrait.photo).mean() < 12  # as of the samples
