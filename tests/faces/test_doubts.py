"""What is told of a face that may be drawn badly; samples of the program are told of only once they are spoiled."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from apdraw_cli.faces.align import IDENTITY
from apdraw_cli.faces.doubts import cut_share, misfit, roll, sharpness
from apdraw_cli.faces.extract import PortraitExtractor
from engines.errors import PhotoError
from engines.portrait import SIZE, TEMPLATE

SAMPLES = Path(__file__).resolve().parents[2] / "samples"

Picture = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def astronaut() -> Picture:
    return np.asarray(cv2.imread(str(SAMPLES / "astronaut.png"), cv2.IMREAD_COLOR_RGB), np.uint8)


@pytest.fixture(scope="module")
def extractor() -> PortraitExtractor:
    return PortraitExtractor()


def codes(extractor: PortraitExtractor, photo: Picture) -> list[str]:
    return [warning.code for each in extractor.extract(np.ascontiguousarray(photo), {}) for warning in each.warnings]


def test_nothing_is_told_of_a_good_photo(extractor: PortraitExtractor, astronaut: Picture) -> None:
    assert codes(extractor, astronaut) == []


def test_a_small_face_is_told_of(extractor: PortraitExtractor, astronaut: Picture) -> None:
    small = cv2.resize(astronaut, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # of 45 pixels
    assert codes(extractor, np.asarray(small, np.uint8)) == ["small_face"]


def test_strong_blur_is_told_of_at_any_size(extractor: PortraitExtractor, astronaut: Picture) -> None:
    assert codes(extractor, cv2.GaussianBlur(astronaut, (0, 0), 3)) == ["blurred"]
    large = cv2.resize(cv2.GaussianBlur(astronaut, (0, 0), 3), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    assert codes(extractor, large) == ["blurred"]
    assert codes(extractor, cv2.GaussianBlur(astronaut, (0, 0), 0.7)) == []


def test_sharpness_depends_on_neither_light_nor_contrast() -> None:
    noise = np.random.default_rng(0).uniform(60, 180, (SIZE, SIZE, 3)).astype(np.uint8)
    rough = cv2.GaussianBlur(noise, (0, 0), 2)
    dark = (rough // 2 + 20).astype(np.uint8)
    assert sharpness(dark) == pytest.approx(sharpness(rough), rel=0.1)
    assert sharpness(np.full((SIZE, SIZE, 3), 90, np.uint8)) < 0.01


@pytest.mark.parametrize("cut", ["left", "top"])
def test_a_face_that_the_photo_cuts_is_told_of(extractor: PortraitExtractor, astronaut: Picture, cut: str) -> None:
    large = np.asarray(cv2.resize(astronaut, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)
    assert codes(extractor, large[:, 400:] if cut == "left" else large[160:]) == ["cut_face"]


def test_share_of_the_face_outside_the_photo() -> None:
    assert cut_share((SIZE, SIZE, 3), IDENTITY) == 0
    assert cut_share((SIZE, SIZE // 2, 3), IDENTITY) == pytest.approx(0.5, abs=0.03)
    assert cut_share((10, 10, 3), IDENTITY) == 1


def test_landmarks_that_fit_and_their_roll() -> None:
    assert misfit(TEMPLATE) == pytest.approx(0, abs=1e-5)
    assert roll(TEMPLATE) == pytest.approx(0, abs=1e-3)
    crown_to_the_left = np.stack([TEMPLATE[:, 1], SIZE - 1 - TEMPLATE[:, 0]], axis=1)
    assert roll(crown_to_the_left) == pytest.approx(90, abs=1e-3)
    assert abs(roll(SIZE - 1 - TEMPLATE)) == pytest.approx(180, abs=1e-3)
    swapped = TEMPLATE[[0, 1, 2, 4, 3]]
    assert misfit(swapped) > 0.3


def test_strict_makes_warnings_failures(astronaut: Picture) -> None:
    strict = PortraitExtractor(strict=True)
    assert len(strict.extract(astronaut, {})) == 1
    with pytest.raises(PhotoError, match=r"the face is small: 4\d pixels") as failure:
        strict.extract(np.asarray(cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA), np.uint8), {})
    assert failure.value.code == "doubtful"
