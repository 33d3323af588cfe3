import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from apdraw_cli.faces.detect import iou
from apdraw_cli.faces.tiny_retinaface import COARSE_SIZE, DETECTION_SIZE, SMALL_FACE_SIZE, WEIGHTS, TinyRetinaFace
from engines.errors import UnfitError

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


@pytest.fixture(scope="module")
def detector() -> TinyRetinaFace:
    return TinyRetinaFace()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.asarray(cv2.imread(str(SAMPLES / "astronaut.png"), cv2.IMREAD_COLOR_RGB))


def test_landmarks_lie_where_the_features_are(detector: TinyRetinaFace, astronaut: np.ndarray) -> None:
    face = detector.detect(astronaut)[0]
    # Read off the photo by eye.
    expected = [(203, 101), (247, 104), (225, 127), (204, 140), (243, 141)]
    assert np.abs(face.landmarks - expected).max() < 4
    assert face.score > 0.99


def test_landmarks_are_sub_pixel(detector: TinyRetinaFace, astronaut: np.ndarray) -> None:
    landmarks = detector.detect(astronaut)[0].landmarks
    assert np.abs(landmarks - np.rint(landmarks)).max() > 0.1


def test_a_large_photo_gives_the_same_face(detector: TinyRetinaFace, astronaut: np.ndarray) -> None:
    small = detector.detect(astronaut)[0]
    large = detector.detect(cv2.resize(astronaut, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC))[0]
    assert np.abs((large.landmarks + 0.5) / 4 - 0.5 - small.landmarks).max() < 3
    assert large.size == pytest.approx(4 * small.size, rel=0.05)


def test_the_largest_face_comes_first(detector: TinyRetinaFace, astronaut: np.ndarray) -> None:
    page = np.full((700, 1100, 3), 255, np.uint8)
    page[100:356, 50:306] = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    page[100:612, 500:1012] = astronaut
    faces = detector.detect(page)
    assert len(faces) == 2
    assert faces[0].size > faces[1].size
    assert faces[0].landmarks[2][0] > 500 > faces[1].landmarks[2][0]


def test_small_faces_of_a_large_photo_are_found(detector: TinyRetinaFace, astronaut: np.ndarray) -> None:
    page = np.full((3000, 4000, 3), 255, np.uint8)
    page[100:356, 100:356] = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)  # a face of 60 pixels
    (alone,) = detector.detect(page)
    assert alone.landmarks[2] == pytest.approx([100 + 112, 100 + 64], abs=6)
    page[1000:3000, 1500:3500] = cv2.resize(astronaut, (2000, 2000), interpolation=cv2.INTER_CUBIC)
    assert len(detector.detect(page)) == 1
    large, small = detector.detect(page, every_face=True)
    assert large.size > 300
    assert iou(alone, small) > 0.5


def test_a_large_face_is_found_by_a_coarse_pass_and_measured_by_a_fine_one(
    detector: TinyRetinaFace, astronaut: np.ndarray
) -> None:
    photo = np.asarray(cv2.resize(astronaut, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC))
    (coarse,) = detector._detect_at(photo, COARSE_SIZE)
    (whole,) = detector._detect_at(photo, DETECTION_SIZE)
    (face,) = detector.detect(photo)
    assert iou(face, whole) > 0.8
    expected = (np.array([(203, 101), (247, 104), (225, 127), (204, 140), (243, 141)]) + 0.5) * 4 - 0.5  # by eye
    error, coarse_error = (np.abs(found.landmarks - expected).mean() for found in (face, coarse))
    assert error < min(10, coarse_error)


@pytest.mark.parametrize(("x", "y"), [(-170, 0), (290, 0), (60, -50), (60, 640), (-170, -50)])
def test_a_large_face_at_the_rim_of_a_photo(detector: TinyRetinaFace, astronaut: np.ndarray, x: int, y: int) -> None:
    page = np.full((1000, 640, 3), 255, np.uint8)
    seen = astronaut[max(0, -y) : 1000 - y, max(0, -x) : 640 - x]
    page[max(0, y) :, max(0, x) :][: seen.shape[0], : seen.shape[1]] = seen
    alone = detector.detect(astronaut)[0]
    face = detector.detect(page)[0]
    assert np.abs(face.landmarks - (x, y) - alone.landmarks).max() < 6


def test_a_face_too_small_for_the_coarse_pass_is_found(detector: TinyRetinaFace, astronaut: np.ndarray) -> None:
    page = np.full((900, 900, 3), 255, np.uint8)
    page[300:812, 200:712] = astronaut  # a face of 90 pixels: a tenth
    assert detector._coarse_to_fine(page) is None
    (face,) = detector.detect(page)
    assert np.abs(face.landmarks - (200, 300) - detector.detect(astronaut)[0].landmarks).max() < 5


@pytest.mark.parametrize("upright", [True, False], ids=["wide", "high"])
def test_small_faces_of_a_panorama_are_found_in_tiles(
    detector: TinyRetinaFace, astronaut: np.ndarray, upright: bool
) -> None:
    page = np.full((500, 10_000, 3), 120, np.uint8) if upright else np.full((10_000, 500, 3), 120, np.uint8)
    small = np.asarray(cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA))  # a face of 45 pixels
    places = [(870, 200), (6000, 100)]  # the first at the edge of a tile
    for along, across in places:
        x, y = (along, across) if upright else (across, along)
        page[y : y + 256, x : x + 256] = small
    assert not detector._detect_at(page, SMALL_FACE_SIZE)
    assert detector.detect(page)
    faces = detector.detect(page, every_face=True)
    noses = sorted(tuple(face.landmarks[2]) for face in faces)
    expected = sorted((along + 112, across + 64) if upright else (across + 112, along + 64) for along, across in places)
    assert len(noses) == 2
    assert np.abs(np.array(noses) - expected).max() < 6


def test_the_mean_over_anchors_errs_less(
    detector: TinyRetinaFace, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By less than a stride the grid of anchors moves against the photo; the landmarks should move with the photo.
    def unrest() -> float:
        places = []
        for shift in range(0, 32, 4):
            page = np.full((544, 544, 3), 255, np.uint8)
            page[shift : shift + 512, shift : shift + 512] = astronaut
            places.append(detector._detect_at(page, DETECTION_SIZE)[0].landmarks - shift)
        return float(np.std(places, axis=0).mean())

    together = unrest()
    monkeypatch.setattr("apdraw_cli.faces.tiny_retinaface.SAME_FACE_IOU", 0.9999)  # the surest alone
    assert together < 0.95 * unrest()


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (64, 64)])
def test_a_photo_without_a_face(detector: TinyRetinaFace, shape: tuple[int, int]) -> None:
    assert detector.detect(np.full((*shape, 3), 120, np.uint8)) == []


def test_every_portrait_of_the_reference_set_is_found(shared: Path, detector: TinyRetinaFace) -> None:
    photos = sorted((shared / "portraits" / "photos").glob("*.jpg"))[::45]
    assert photos
    for photo in photos:
        assert detector.detect(np.asarray(cv2.imread(str(photo), cv2.IMREAD_COLOR_RGB))), photo.name


def test_the_weights_are_those_whose_licence_is_told() -> None:
    told = (SAMPLES.parent / "THIRD_PARTY.md").read_text(encoding="utf-8")
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() in told


def test_missing_weights_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="install apdraw again"):
        TinyRetinaFace(tmp_path / "none.onnx")
