"""The way of one photo in a worker: whatever happens is told in the result."""

import pickle
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
from apdraw_cli.conversion.decode import decode
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.portraits import PortraitMaker
from engines.errors import UnfitError
from engines.portrait import SIZE, TEMPLATE, Image, Landmarks

MAKER = PortraitMaker(fake_extractor, FaceOptions())
ALIGNED = PortraitMaker(fake_extractor, FaceOptions(aligned=True))


def test_a_photo_becomes_portraits(tmp_path: Path) -> None:
    prepared = MAKER.prepare(str(save_photo(tmp_path / "p.png", 77)))
    assert prepared.error is None
    assert prepared.portraits[0].photo[0, 0].tolist() == [77, 77, 77]
    assert prepared.faces[0].score == 0.99
    assert prepared.seconds.keys() == {"read", "decode", "detect"}


def test_maker_and_result_go_between_processes(tmp_path: Path) -> None:
    maker = pickle.loads(pickle.dumps(MAKER))
    prepared = pickle.loads(pickle.dumps(maker.prepare(str(save_photo(tmp_path / "p.png", 77)))))
    assert len(prepared.portraits) == 1
    failed = pickle.loads(pickle.dumps(maker.prepare(str(tmp_path / "none.png"))))
    assert (failed.error.code, failed.error.message) == ("not_found", "there is no such file")


SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "astronaut.png"


@pytest.mark.parametrize(("across", "is_reduced"), [(4000, True), (1000, False)])
def test_a_large_jpeg_is_reduced_where_the_face_allows(
    tmp_path: Path, across: int, is_reduced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Pillow.new("RGB", (4000, 3000), "white")  # the same photo shows a large face, or a small one far away
    page.paste(Pillow.open(SAMPLE).convert("RGB").resize((across, across)), (0, 0))
    path = tmp_path / "p.jpg"
    page.save(path, quality=92)
    decoded = []
    monkeypatch.setattr(portraits, "decode", lambda data: decoded.append(1) or decode(data))
    whole = PortraitMaker(retinaface_extractor, FaceOptions(min_face=1)).prepare(str(path))
    assert decoded == [1]
    quick = PortraitMaker(retinaface_extractor, FaceOptions()).prepare(str(path))
    assert len(decoded) == 1 + (not is_reduced)
    assert quick.error is None
    np.testing.assert_allclose(quick.faces[0].landmarks, whole.faces[0].landmarks, atol=6)
    np.testing.assert_allclose(quick.faces[0].box, whole.faces[0].box, atol=20)
    one, other = (cv2.GaussianBlur(found.portraits[0].photo, (0, 0), 3).astype(int) for found in (quick, whole))
    assert np.abs(one - other).mean() < 3


def test_failures_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    for path, code in (
        (tmp_path / "none.jpg", "not_found"),
        (tmp_path / "text.jpg", "not_an_image"),
        (save_photo(tmp_path / "black.png", 0), "no_face"),
    ):
        prepared = MAKER.prepare(str(path))
        assert prepared.error is not None
        assert (prepared.error.code, prepared.portraits, prepared.trace) == (code, (), "")


def test_a_bug_costs_one_photo_and_keeps_its_traceback(tmp_path: Path) -> None:
    prepared = MAKER.prepare(str(save_photo(tmp_path / "bug.png", mark=RAISES)))
    assert prepared.error is not None
    assert prepared.error.code == "internal"
    assert "a bug with a second line" in prepared.error.message
    assert "RuntimeError" in prepared.trace


class OutOfMemory(FakeExtractor):
    def extract(self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None = None) -> list:
        raise MemoryError


def test_want_of_memory_costs_one_photo(tmp_path: Path) -> None:
    prepared = PortraitMaker(OutOfMemory, FaceOptions()).prepare(str(save_photo(tmp_path / "p.png")))
    assert prepared.error is not None
    assert prepared.error.code == "too_large"


def test_an_extractor_that_cannot_be_used_is_told_before_the_first_photo() -> None:
    with pytest.raises(UnfitError, match="pip install detector"):
        PortraitMaker(unfit_extractor, FaceOptions()).check()
    with pytest.raises(UnfitError, match="its weights are gone"):
        PortraitMaker(broken_extractor, FaceOptions()).check()
    MAKER.check()


def aligned_photo(folder: Path) -> str:
    Pillow.fromarray(np.full((SIZE, SIZE, 3), 50, np.uint8)).save(folder / "p.png")
    return str(folder / "p.png")


def test_landmarks_of_aligned_portraits_are_read_beside_them(tmp_path: Path) -> None:
    path = aligned_photo(tmp_path)
    assert (ALIGNED.prepare(path).faces[0].landmarks == TEMPLATE).all()
    (tmp_path / "p.txt").write_text("1 2\n3 4.5\n5 6\n7 8\n9 10\n\n")
    assert ALIGNED.prepare(path).faces[0].landmarks.tolist() == [[1, 2], [3, 4.5], [5, 6], [7, 8], [9, 10]]
    assert (MAKER.prepare(path).faces[0].landmarks == TEMPLATE).all()


@pytest.mark.parametrize("text", ["", "1 2\n3 4\n", "1 2 3\n" * 5, "left eye\n" * 5, "nan 1\n" * 5, "\udcff"])
def test_landmarks_that_are_none(tmp_path: Path, text: str) -> None:
    path = aligned_photo(tmp_path)
    (tmp_path / "p.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    error = ALIGNED.prepare(path).error
    assert error is not None
    assert error.code == "bad_landmarks"


class Unfit(FakeExtractor):
    def extract(self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None = None) -> list:
        raise UnfitError("the segmenter is not installed")


def test_what_no_photo_can_help_is_no_failure_of_a_photo(tmp_path: Path) -> None:
    maker = PortraitMaker(Unfit, FaceOptions())
    with pytest.raises(UnfitError):
        maker.check()
    with pytest.raises(UnfitError):
        maker.prepare(str(save_photo(tmp_path / "p.png")))
