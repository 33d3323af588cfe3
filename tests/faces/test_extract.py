from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from apdraw_cli.faces.extract import PortraitExtractor
from engines.errors import PhotoError
from engines.portrait import SIZE, TEMPLATE

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


class Everywhere:
    """A segmenter that sees nothing but person."""

    def mask(self, portrait: np.ndarray) -> np.ndarray:
        return np.full(portrait.shape[:2], 255, np.uint8)


Extractors = Callable[..., PortraitExtractor]


@pytest.fixture(scope="module")
def extractor() -> Extractors:
    """Makes extractors with a segmenter that sees nothing but person; they share their other networks."""
    networks = PortraitExtractor()

    def make(*arguments: Any, **options: Any) -> PortraitExtractor:
        made = PortraitExtractor(*arguments, segmenter=Everywhere(), **options)
        made.__dict__.update(detector=networks.detector, mesher=networks.mesher)
        return made

    return make


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.asarray(cv2.imread(str(SAMPLES / "astronaut.png"), cv2.IMREAD_COLOR_RGB))


def test_a_portrait_is_aligned(extractor: Extractors, astronaut: np.ndarray) -> None:
    timings: dict[str, float] = {}
    (found,) = extractor().extract(astronaut, timings)
    assert found.portrait.photo.shape == (SIZE, SIZE, 3)
    assert np.abs(found.portrait.landmarks - TEMPLATE).max() < 20
    assert (found.portrait.landmarks == np.rint(found.portrait.landmarks)).all()
    assert timings.keys() == {"detect", "align", "segment"}
    # Detected again in the aligned portrait, the features lie where the landmarks say.
    (again,) = extractor().extract(found.portrait.photo, {})
    assert np.abs(again.face.landmarks - found.portrait.landmarks).max() < 6


def test_all_faces_or_the_largest(extractor: Extractors, astronaut: np.ndarray) -> None:
    page = np.full((520, 800, 3), 255, np.uint8)
    page[4:516, 4:516] = astronaut
    page[100:356, 530:786] = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    largest = extractor("largest").extract(page, {})
    both = extractor("all").extract(page, {})
    assert [len(largest), len(both)] == [1, 2]
    assert both[0].face.size > both[1].face.size
    limit = (both[0].face.size + both[1].face.size) / 2
    assert len(extractor("all", limit).extract(page, {})) == 1
    (second,) = extractor("2,5,9").extract(page, {})
    assert second.number == 2
    assert [(each.code, each.message) for each in second.warnings if each.code == "too_few_faces"] == [
        ("too_few_faces", "the photo has no face 5, 9: there are 2, counted from left to right")
    ]
    with pytest.raises(PhotoError, match="the photo has no face 7, 9: there are 2, counted from left to right") as none:
        extractor("7,9").extract(page, {})
    assert none.value.code == "too_few_faces"
    (first, _) = extractor("1,2").extract(page, {})
    assert "too_few_faces" not in {each.code for each in first.warnings}


def test_no_face_is_told_with_its_reason(extractor: Extractors, astronaut: np.ndarray) -> None:
    with pytest.raises(PhotoError, match=r"no face found$") as empty:
        extractor().extract(np.zeros((100, 100, 3), np.uint8), {})
    assert empty.value.code == "no_face"
    with pytest.raises(PhotoError, match="under --min-face 300"):
        extractor(min_face=300).extract(astronaut, {})


def test_aligned_portraits_are_taken_as_they_are() -> None:
    extractor = PortraitExtractor(aligned=True, segmenter=Everywhere())
    blank = np.full((SIZE, SIZE, 3), 128, np.uint8)
    landmarks = TEMPLATE + np.float32(1.6)
    (given,) = extractor.extract(blank, {}, landmarks)
    assert (given.portrait.landmarks == np.rint(landmarks)).all()
    assert (given.portrait.photo == blank).all()
    (undetected,) = extractor.extract(blank, {})
    assert (undetected.portrait.landmarks == np.rint(TEMPLATE)).all()
    with pytest.raises(PhotoError, match="100 x 80") as wrong:
        extractor.extract(blank[:80, :100], {})
    assert wrong.value.code == "not_aligned"
