"""Enlarged drawings have edges as sharp as small ones, at the same places, and keep their ink."""

import cv2
import numpy as np
import pytest

from apdraw_cli.conversion.enlarge import resized
from engines.portrait import SIZE, Image

FINE = 4 * SIZE


@pytest.fixture(scope="module")
def fine() -> Image:
    """Rings and strokes of 4 to 12 pixels' width at 2048, as a drawing's lines are when they are enlarged."""
    sheet = np.full((FINE, FINE), 255, np.uint8)
    for radius in range(100, 1000, 90):
        cv2.circle(sheet, (1024, 1024), radius, 0, 4 + radius // 120)
    cv2.line(sheet, (30, 900), (2000, 1100), 0, 8)
    return sheet


def test_the_same_size_is_the_same_drawing() -> None:
    drawing = np.zeros((SIZE, SIZE), np.uint8)
    assert resized(drawing, SIZE) is drawing


def test_enlarging_gives_back_what_was_reduced(fine: Image) -> None:
    small = cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    large = resized(np.asarray(small, np.uint8), FINE)
    assert large.dtype == np.uint8
    assert large.shape == (FINE, FINE)
    plain = cv2.resize(small, (FINE, FINE), interpolation=cv2.INTER_CUBIC)
    error, plain_error = (float(np.abs(each.astype(int) - fine).mean()) for each in (large, plain))
    assert error < 0.55 * plain_error
    assert (255 - large.astype(float)).sum() == pytest.approx((255 - fine.astype(float)).sum(), rel=0.02)


def test_edges_are_about_a_pixel_wide(fine: Image) -> None:
    large = resized(np.asarray(cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8), FINE)
    grey = np.count_nonzero((large > 25) & (large < 230))
    rims = cv2.findContours((fine < 128).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    assert grey < 2 * sum(map(len, rims))


def test_reducing_keeps_the_mean(fine: Image) -> None:
    small = resized(fine, 300)
    assert small.shape == (300, 300)
    assert float(small.mean()) == pytest.approx(float(fine.mean()), abs=0.5)
