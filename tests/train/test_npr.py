import cv2
import numpy as np
import pytest

from engines.portrait import SIZE, TEMPLATE
from train import npr


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    page = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(page, (256, 300), (190, 260), 0, 0, 360, npr.PERSON, -1)
    cv2.ellipse(page, (256, 300), (110, 150), 0, 0, 360, npr.FACE, -1)
    return page


@pytest.fixture(scope="module")
def photo(labels: np.ndarray) -> np.ndarray:
    """Dark hair around a bright face, before a checked background."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    page = np.where(((x // 16 + y // 16) % 2)[..., None] > 0, 30, 220).astype(np.uint8).repeat(3, 2)
    page[labels == npr.PERSON] = (40, 30, 25)
    page[labels == npr.FACE] = (225, 180, 160)
    for eye in TEMPLATE[:2]:
        cv2.circle(page, tuple(int(v) for v in eye), 9, (20, 20, 20), -1)
    return page


def test_two_tones_and_a_white_background(photo: np.ndarray, labels: np.ndarray) -> None:
    drawing = npr.draw(photo, labels, TEMPLATE)
    assert drawing.dtype == np.uint8
    assert ((drawing < 40) | (drawing > 215)).mean() > 0.95
    outside = cv2.dilate((labels > 0).astype(np.uint8), np.ones((9, 9))) == 0
    assert (drawing[outside] == 255).all()


def test_hair_is_black_skin_white_and_eyes_are_drawn(photo: np.ndarray, labels: np.ndarray) -> None:
    drawing = npr.draw(photo, labels, TEMPLATE)
    assert drawing[80:120, 230:280].mean() < 60
    assert drawing[170:200, 230:280].mean() > 230
    for x, y in TEMPLATE[:2].astype(int):
        assert drawing[y - 4 : y + 4, x - 4 : x + 4].mean() < 100


def test_dark_skin_draws_as_light_skin_does(labels: np.ndarray) -> None:
    drawings = []
    for skin in (200, 90):
        page = np.full((SIZE, SIZE, 3), 128, np.uint8)
        page[labels > 0] = skin
        for eye in TEMPLATE[:2]:
            cv2.circle(page, tuple(int(v) for v in eye), 9, (skin // 5,) * 3, -1)
        drawings.append(npr.draw(page, labels, TEMPLATE))
    for drawing in drawings:
        assert drawing[170:200, 230:280].mean() > 230


def test_flow_runs_along_the_edges() -> None:
    y, x = np.mgrid[0:64, 0:64].astype(np.float32)
    stripes = np.sin((x + y) / 3).astype(np.float32)
    flow = npr.tangent_flow(stripes, 2.0)[16:48, 16:48]
    assert np.abs(np.abs(flow @ np.array([1, -1]) / np.sqrt(2)) - 1).max() < 0.02


def test_difference_of_gaussians_matches_a_plain_one_across_straight_lines() -> None:
    tone = np.ones((64, 64), np.float32)
    tone[:, 31:33] = 0
    p = npr.NprParameters()
    flow = np.zeros((64, 64, 2), np.float32)
    flow[..., 1] = 1
    found = npr.flow_difference(tone, flow, 1.1, p)[32]
    kernel = 33
    plain = cv2.GaussianBlur(tone, (kernel, kernel), 1.1) - cv2.GaussianBlur(tone, (kernel, kernel), 1.1 * p.ratio)
    assert np.abs(found - plain[32])[8:56].max() < 0.01


def test_specks_go_and_lines_stay() -> None:
    ink = np.zeros((50, 50), np.float32)
    ink[5:7, 5:7] = 1
    ink[20, 10:40] = 1
    kept = npr.drop_specks(ink)
    assert kept[5:7, 5:7].sum() == 0
    assert kept[20].sum() == 30


def test_the_jaw_line_is_the_lower_rim_of_the_face(labels: np.ndarray) -> None:
    line = npr.jaw_line(labels, TEMPLATE, 2.0)
    assert line[445:455, 250:262].max() > 0.9
    assert line[: int(TEMPLATE[2][1])].max() == 0


def test_without_a_face_in_the_labels_it_still_draws() -> None:
    labels = np.ones((SIZE, SIZE), np.uint8)
    assert npr.draw(np.full((SIZE, SIZE, 3), 200, np.uint8), labels, TEMPLATE).shape == (SIZE, SIZE)
