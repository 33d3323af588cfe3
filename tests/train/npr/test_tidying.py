"""Tidied drawings: whole lines, no specks."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from engines.portrait import SIZE, TEMPLATE
from train.npr.tidying import followed_jaw, joined_strokes, tidy

NOTHING = np.zeros((SIZE, SIZE), np.float32)


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
    joined = joined_strokes(ink, NOTHING) > 0.5
    assert cv2.connectedComponents(joined[60:140].astype(np.uint8))[0] == 1 + 1
    white = ~joined[350:430]
    assert white[:, 60:450].any(axis=0).mean() > 0.95
    kept = joined_strokes(ink, np.ones_like(NOTHING))
    assert np.array_equal(kept, ink)


@pytest.mark.parametrize("reach", [-5.0, 0.0, 6.0])
def test_the_jaw_follows_the_drawing(reach: float) -> None:
    found = followed_jaw(jaw_points(), dashed_jaw(reach))
    off = np.hypot((found[:, 0] - 256) / (120 + reach), (found[:, 1] - 300) / (150 + reach)) - 1
    assert np.abs(off[30:-30] * 130).max() < 2


def test_a_jaw_that_is_nowhere_drawn_is_that_of_the_face() -> None:
    assert np.abs(followed_jaw(jaw_points(), NOTHING) - jaw_points()).max() < 0.01
    assert len(followed_jaw(np.empty((0, 2), np.float32), NOTHING)) == 0


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
    found = tidy(photo, labels, TEMPLATE, drawing)
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
    assert (tidy(photo, np.zeros_like(white), TEMPLATE, white) == 255).all()


def test_the_processes_that_tidy_load_no_torch() -> None:
    subprocess.run(
        [sys.executable, "-c", "import sys, train.npr.tidying; assert 'torch' not in sys.modules"], check=True
    )
