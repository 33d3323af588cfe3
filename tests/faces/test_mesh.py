from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from apdraw_cli.faces.align import apply, similarity, warp_photo
from apdraw_cli.faces.mesh import LEAST_PLAUSIBLE, WEIGHTS, FaceMesher
from apdraw_cli.faces.tiny_retinaface import TinyRetinaFace
from engines.errors import UnfitError
from engines.portrait import SIZE
from train.artist.mesh import IRIS_CENTRES, LOWER_LIDS, MOUTH_CORNERS, NOSE_TIP, UPPER_LIDS

SAMPLES = Path(__file__).resolve().parents[2] / "samples"

Picture = npt.NDArray[np.uint8]


def read(path: Path) -> Picture:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)


@pytest.fixture(scope="module")
def mesher() -> FaceMesher:
    return FaceMesher()


def test_the_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size <= 3_000_000


@pytest.mark.parametrize("sample", ["astronaut.png", "grace_hopper.jpg"])
def test_mesh_of_a_sample(mesher: FaceMesher, sample: str) -> None:
    photo = read(SAMPLES / sample)
    landmarks = TinyRetinaFace().detect(photo)[0].landmarks
    transform = similarity(landmarks)
    points, plausibility = mesher.find(warp_photo(photo, transform))
    assert (points.shape, points.dtype) == ((478, 2), np.float32)
    assert plausibility > LEAST_PLAUSIBLE
    eyes_nose_mouth = points[[*IRIS_CENTRES, NOSE_TIP, *MOUTH_CORNERS]]
    assert np.linalg.norm(eyes_nose_mouth - apply(transform, landmarks), axis=1).max() < 12
    for side in (0, 1):
        upper, lower = points[list(UPPER_LIDS[side])], points[list(LOWER_LIDS[side])]
        assert (upper[2:-2, 1] < lower[2:-2, 1]).all()


def test_a_mirrored_portrait_has_a_mirrored_mesh(mesher: FaceMesher) -> None:
    photo = read(SAMPLES / "grace_hopper.jpg")
    portrait = warp_photo(photo, similarity(TinyRetinaFace().detect(photo)[0].landmarks))
    one, other = mesher.find(portrait).points, mesher.find(np.ascontiguousarray(portrait[:, ::-1])).points
    left, right = (np.array(lids) for lids in UPPER_LIDS)
    assert np.abs(one[left] - (other[right] * (-1, 1) + (SIZE - 1, 0))).mean() < 2.5


def test_what_is_no_face_is_implausible(mesher: FaceMesher) -> None:
    photo = read(SAMPLES / "astronaut.png")
    portrait = warp_photo(photo, similarity(TinyRetinaFace().detect(photo)[0].landmarks))
    noise = np.random.default_rng(0).uniform(0, 255, (24, 24, 3)).astype(np.uint8)
    no_faces = {
        "upside down": np.ascontiguousarray(portrait[::-1]),
        "turned": np.ascontiguousarray(portrait.swapaxes(0, 1)),
        "beside": np.roll(portrait, 200, axis=1),
        "noise": cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC),
        "flat": np.full((SIZE, SIZE, 3), 128, np.uint8),
        "clothes": cv2.resize(photo[350:500, 150:300], (SIZE, SIZE)),
    }
    for name, picture in no_faces.items():
        assert mesher.find(np.asarray(picture, np.uint8)).plausibility < LEAST_PLAUSIBLE, name


def test_missing_weights_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="install apdraw again"):
        FaceMesher(tmp_path / "none.onnx")


def test_error_on_reference_portraits(shared: Path, mesher: FaceMesher) -> None:
    index = (shared / "portraits" / "index.csv").read_text(encoding="utf-8").splitlines()[1:]
    val = {line.split(",")[0] for line in index if line.endswith(",val")}
    detector = TinyRetinaFace()
    errors = []
    with np.load(shared / "portraits" / "mesh478.npz") as file:
        for name, mesh, valid in zip(file["names"], file["points"], file["valid"], strict=True):
            if name in val and valid:
                photo = read(shared / "portraits" / "photos" / str(name))
                transform = similarity(detector.detect(photo)[0].landmarks)
                found = mesher.find(warp_photo(photo, transform))
                assert found.plausibility > LEAST_PLAUSIBLE, name
                errors.append(np.linalg.norm(found.points - apply(transform, mesh[:, :2]), axis=1))
    assert len(errors) == 79
    assert np.mean(errors) < 3
    assert np.mean(errors, axis=0)[list(IRIS_CENTRES)].max() < 2
