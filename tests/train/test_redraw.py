"""Tidied drawings: whole lines, no specks, and a data set of them."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import ApdrawError, DatasetError
from engines.portrait import SIZE, TEMPLATE
from engines.select import shipped_model
from train import redraw as tidy
from train.data.line_pairs import LinePairs
from train.data.pairs import PortraitPairs
from train.npr.face_parsing import FACE, PERSON

NOTHING = np.zeros((SIZE, SIZE), np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(labels, (256, 560), (230, 150), 0, 0, 360, PERSON, -1)
    cv2.ellipse(labels, (256, 280), (150, 200), 0, 0, 360, PERSON, -1)
    cv2.ellipse(labels, (256, 300), (120, 150), 0, 0, 360, FACE, -1)
    return labels


@pytest.fixture
def photo(labels: np.ndarray) -> np.ndarray:
    colours = np.array([(90, 120, 160), (70, 60, 50), (200, 160, 140)], np.uint8)
    return colours[labels]


def jaw_points(reach: float = 0.0) -> np.ndarray:
    angles = np.linspace(0.1, np.pi - 0.1, 300)
    return np.stack([256 + (120 + reach) * np.cos(angles), 300 + (150 + reach) * np.sin(angles)], axis=1).astype("f4")


def dashed_jaw(reach: float) -> np.ndarray:
    """Ink of every other sixth of a jaw line."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    points = np.rint(jaw_points(reach)).astype(np.int32)
    for start in range(0, 300, 20):
        cv2.polylines(canvas, [points[start : start + 12].reshape(-1, 1, 2)], False, 255, 2, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def test_dashes_join_and_thin_lines_of_either_tone_stay() -> None:
    ink = NOTHING.copy()
    cv2.line(ink, (60, 100), (450, 110), 1.0, 2)
    for x in range(70, 440, 14):
        ink[60:140, x : x + 3] = 0
    ink[300:480] = 1
    cv2.line(ink, (40, 380), (470, 400), 0.0, 2)
    joined = tidy.joined_strokes(ink, NOTHING) > 0.5
    assert cv2.connectedComponents(joined[60:140].astype(np.uint8))[0] == 1 + 1
    white = ~joined[350:430]
    assert white[:, 60:450].any(axis=0).mean() > 0.95
    kept = tidy.joined_strokes(ink, np.ones_like(NOTHING))
    assert np.array_equal(kept, ink)


@pytest.mark.parametrize("reach", [-5.0, 0.0, 6.0])
def test_the_jaw_follows_the_drawing(reach: float) -> None:
    found = tidy.followed_jaw(jaw_points(), dashed_jaw(reach))
    off = np.hypot((found[:, 0] - 256) / (120 + reach), (found[:, 1] - 300) / (150 + reach)) - 1
    assert np.abs(off[30:-30] * 130).max() < 2


def test_a_jaw_that_is_nowhere_drawn_is_that_of_the_face() -> None:
    assert np.abs(tidy.followed_jaw(jaw_points(), NOTHING) - jaw_points()).max() < 0.01
    assert len(tidy.followed_jaw(np.empty((0, 2), np.float32), NOTHING)) == 0


def test_a_tidied_drawing_has_a_whole_jaw_eyes_as_they_were_and_no_specks(
    photo: np.ndarray, labels: np.ndarray
) -> None:
    ink = dashed_jaw(3.0)
    rng = np.random.default_rng(0)
    for x, y in rng.integers(5, 500, (300, 2)):
        ink[y : y + 2, x : x + 2] = 1
    for x, y in TEMPLATE[:2].astype(int):
        cv2.circle(ink, (int(x), int(y)), 5, 1.0, 2)
    drawing = np.rint(255 * (1 - ink)).astype(np.uint8)
    found = tidy.tidy(photo, labels, TEMPLATE, drawing)
    background = cv2.dilate((labels > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    assert (found[background] == 255).all()
    jaw = jaw_points(3.0)[60:-60].round().astype(int)
    near = cv2.erode(found, np.ones((7, 7), np.uint8))
    assert (near[jaw[:, 1], jaw[:, 0]] < 100).all()
    cheek = np.s_[310:360, 155:200]
    assert (drawing[cheek] < 128).any()
    assert (found[cheek] > 200).all()
    for x, y in TEMPLATE[:2].astype(int):
        eye = np.s_[y - 7 : y + 8, x - 7 : x + 8]
        assert np.abs(found[eye].astype(int) - drawing[eye]).mean() < 25


def test_a_portrait_without_a_face_has_no_jaw(photo: np.ndarray) -> None:
    white = np.full((SIZE, SIZE), 255, np.uint8)
    assert (tidy.tidy(photo, np.zeros_like(white), TEMPLATE, white) == 255).all()


@pytest.fixture
def given(tiny_dataset: Path, labels: np.ndarray, tmp_path: Path) -> Path:
    """The tiny data set, with label maps."""
    given = tmp_path / "given"
    shutil.copytree(tiny_dataset, given)
    (given / "labels").mkdir()
    names = [json.loads(line)["name"] for line in (given / "index.jsonl").read_text().splitlines()]
    for name in names:
        cv2.imwrite(str(given / "labels" / f"{name}.png"), labels)
    return given


def test_it_writes_a_data_set_like_the_one_given(given: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told: list[tuple[int, int | None]] = []
    assert tidy.redraw(given, shipped_model(), out, lambda *progress: told.append(progress)) == 3
    assert told == [(1, 3), (2, 3), (3, 3)]
    before, after = (PortraitPairs(folder, "train") for folder in (given, out))
    assert before.names == after.names
    assert np.array_equal(before[0].photo, after[0].photo)
    assert not np.array_equal(before[0].drawing, after[0].drawing)
    assert LinePairs(out, "train")[0].black.shape == (1, SIZE, SIZE)
    with pytest.raises(DatasetError, match="is there already"):
        tidy.redraw(given, shipped_model(), out)


def test_what_cannot_be_used_is_one_line(tiny_dataset: Path, given: Path, tmp_path: Path) -> None:
    for dataset, model, message in (
        (tiny_dataset, shipped_model(), "labels"),
        (tmp_path / "nothing", shipped_model(), "nothing"),
        (given, tmp_path / "no.onnx", "no.onnx"),
    ):
        with pytest.raises(ApdrawError, match=message) as caught:
            tidy.redraw(dataset, model, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
