"""The way of one photo in a worker: whatever happens is told in the result."""

import functools
import pickle
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conversion_fakes import (
    RAISES,
    FakeExtractor,
    broken_extractor,
    fake_extractor,
    save_photo,
    unfit_extractor,
)
from PIL import Image as Pillow

from apdraw_cli.commands.convert import retinaface_extractor
from apdraw_cli.conversion import portraits
from apdraw_cli.conversion.decode import decode_reduced
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.pipeline import PhotoReader
from apdraw_cli.conversion.plan import Step
from apdraw_cli.conversion.portraits import Extractor, Prepared
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.sources import Source
from apdraw_cli.faces.align import apply
from engines.errors import UnfitError
from engines.portrait import SIZE, TEMPLATE, Image, Landmarks

READER = PhotoReader(fake_extractor, Recipe())
ALIGNED = PhotoReader(fake_extractor, Recipe(FaceOptions(aligned=True)))


def step(path: Path | str) -> Step:
    return Step(Source(str(path), "/", str(path), "p"), "p.png", "options")


def prepared(path: Path | str, reader: PhotoReader = READER) -> Prepared:
    found = reader.read(step(path))
    assert isinstance(found, Prepared)
    return found


def failure(path: Path | str, reader: PhotoReader = READER) -> Outcome:
    found = reader.read(step(path))
    assert isinstance(found, Outcome)
    return found


def code(outcome: Outcome) -> str:
    assert outcome.error is not None
    return outcome.error.code


def test_a_photo_becomes_portraits(tmp_path: Path) -> None:
    found = prepared(save_photo(tmp_path / "p.png", 77))
    assert found.portraits[0].portrait.photo[0, 0].tolist() == [77, 77, 77]
    assert found.portraits[0].face.score == 0.99
    assert found.photo_size == (16, 12)
    assert found.seconds.keys() == {"read", "decode", "detect"}


def test_reader_step_and_results_go_between_processes(tmp_path: Path) -> None:
    reader = pickle.loads(pickle.dumps(READER))
    planned = pickle.loads(pickle.dumps(step(save_photo(tmp_path / "p.png", 77))))
    assert len(pickle.loads(pickle.dumps(reader.read(planned))).portraits) == 1
    lost = pickle.loads(pickle.dumps(reader.read(step(tmp_path / "none.png"))))
    assert (lost.error.code, lost.error.message) == ("not_found", "there is no such file")
    assert lost.source == step(tmp_path / "none.png").source


SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "astronaut.png"


@functools.cache
def opened_once(options: FaceOptions) -> Extractor:
    return retinaface_extractor(options)


@pytest.mark.parametrize(("across", "is_reduced"), [(4000, True), (1000, False)])
def test_a_large_jpeg_is_reduced_where_the_face_allows(
    tmp_path: Path, across: int, is_reduced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Pillow.new("RGB", (4000, 3000), "white")  # the same photo shows a large face, or a small one far away
    page.paste(Pillow.open(SAMPLE).convert("RGB").resize((across, across)), (0, 0))
    path = tmp_path / "p.jpg"
    page.save(path, quality=92)
    decoded = []
    monkeypatch.setattr(
        portraits,
        "decode_reduced",
        lambda data, side: (decoded.append(1) if side == sys.maxsize else None) or decode_reduced(data, side),
    )
    whole = prepared(path, PhotoReader(opened_once, Recipe(FaceOptions(min_face=1))))
    assert decoded == [1]
    quick = prepared(path, PhotoReader(opened_once, Recipe()))
    assert len(decoded) == 1 + (not is_reduced)
    assert quick.photo_size == whole.photo_size == (4000, 3000)
    (one,), (other,) = quick.portraits, whole.portraits
    np.testing.assert_allclose(one.face.landmarks, other.face.landmarks, atol=6)
    np.testing.assert_allclose(one.face.box, other.face.box, atol=20)
    for found in (one, other):  # the transform leads from the whole photo to the portrait
        np.testing.assert_allclose(apply(found.transform, found.face.landmarks), found.portrait.landmarks, atol=0.6)
    blurred, sharp = (cv2.GaussianBlur(each.portrait.photo, (0, 0), 3).astype(int) for each in (one, other))
    assert np.abs(blurred - sharp).mean() < 3


def test_failures_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    for path, expected, status in (
        (tmp_path / "none.jpg", "not_found", "failed"),
        (tmp_path / "text.jpg", "not_an_image", "failed"),
        (save_photo(tmp_path / "black.png", 0), "no_face", "no_face"),
    ):
        outcome = failure(path)
        assert (code(outcome), outcome.status, outcome.recipe_sha256, outcome.trace) == (
            expected,
            status,
            "options",
            "",
        )


def test_a_bug_costs_one_photo_and_keeps_its_traceback(tmp_path: Path) -> None:
    outcome = failure(save_photo(tmp_path / "bug.png", mark=RAISES))
    assert code(outcome) == "internal"
    assert "a bug with a second line" in str(outcome.error)
    assert "RuntimeError" in outcome.trace
    assert "decode" in outcome.seconds


class OutOfMemory(FakeExtractor):
    def extract(self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None = None) -> list:
        raise MemoryError


def test_want_of_memory_costs_one_photo(tmp_path: Path) -> None:
    assert code(failure(save_photo(tmp_path / "p.png"), PhotoReader(OutOfMemory, Recipe()))) == "out_of_memory"


def test_an_extractor_that_cannot_be_used_is_told_before_the_first_photo() -> None:
    with pytest.raises(UnfitError, match="pip install detector"):
        PhotoReader(unfit_extractor, Recipe()).check()
    with pytest.raises(UnfitError, match="its weights are gone"):
        PhotoReader(broken_extractor, Recipe()).check()
    READER.check()


def aligned_photo(folder: Path) -> Path:
    Pillow.fromarray(np.full((SIZE, SIZE, 3), 50, np.uint8)).save(folder / "p.png")
    return folder / "p.png"


def test_landmarks_of_aligned_portraits_are_read_beside_them(tmp_path: Path) -> None:
    path = aligned_photo(tmp_path)
    assert (prepared(path, ALIGNED).portraits[0].face.landmarks == TEMPLATE).all()
    (tmp_path / "p.txt").write_text("1 2\n3 4.5\n5 6\n7 8\n9 10\n\n")
    landmarks = prepared(path, ALIGNED).portraits[0].face.landmarks
    assert landmarks.tolist() == [[1, 2], [3, 4.5], [5, 6], [7, 8], [9, 10]]
    assert (prepared(path).portraits[0].face.landmarks == TEMPLATE).all()


@pytest.mark.parametrize("text", ["", "1 2\n3 4\n", "1 2 3\n" * 5, "left eye\n" * 5, "nan 1\n" * 5, "\udcff"])
def test_landmarks_that_are_none(tmp_path: Path, text: str) -> None:
    path = aligned_photo(tmp_path)
    (tmp_path / "p.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert code(failure(path, ALIGNED)) == "bad_landmarks"


class Unfit(FakeExtractor):
    def extract(self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None = None) -> list:
        raise UnfitError("the segmenter is not installed")


def test_what_no_photo_can_help_is_no_failure_of_a_photo(tmp_path: Path) -> None:
    reader = PhotoReader(Unfit, Recipe())
    with pytest.raises(UnfitError):
        reader.check()
    with pytest.raises(UnfitError):
        reader.read(step(save_photo(tmp_path / "p.png")))
