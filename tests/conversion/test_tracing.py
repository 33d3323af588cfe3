"""Outlines lie where ink ends, to a fraction of a pixel, and few curves follow them."""

import cv2
import numpy as np
import pytest

from apdraw_cli.conversion.tracing import TOLERANCE, traced
from engines.portrait import Image


def page_of(*discs: tuple[int, int], side: int = 200) -> Image:
    """Discs around the middle, of these radii and grey values, with smooth rims."""
    large = np.full((8 * side, 8 * side), 255, np.uint8)
    for radius, value in discs:
        cv2.circle(large, (4 * side, 4 * side), 8 * radius, value, -1)
    return np.asarray(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def points_on(curves: np.ndarray) -> np.ndarray:
    at = np.linspace(0, 1, 20)[:, None]
    weights = np.hstack([(1 - at) ** 3, 3 * at * (1 - at) ** 2, 3 * at**2 * (1 - at), at**3])
    return np.concatenate([weights @ curve for curve in curves])


@pytest.mark.parametrize("side", [200, 1100])  # traced finer than pixels, and as it is
def test_a_disc_is_a_circle_of_few_curves(side: int) -> None:
    (curves,) = traced(page_of((60, 0), side=side))
    assert curves.dtype == np.float64
    assert len(curves) <= 20
    distances = np.hypot(*(points_on(curves) - side / 2).T)
    assert np.abs(distances - 60).max() < TOLERANCE + 0.15
    assert np.array_equal(curves[:, 3], np.roll(curves[:, 0], -1, axis=0))  # closed


def test_a_ring_is_two_outlines() -> None:
    radii = sorted(np.hypot(*(points_on(curves) - 100).T).mean() for curves in traced(page_of((60, 0), (40, 255))))
    assert radii == pytest.approx([40, 60], abs=0.2)


def test_curves_meet_without_a_corner_but_at_corners() -> None:
    square = np.full((100, 100), 255, np.uint8)
    square[20:80, 20:80] = 0
    (curves,) = traced(square)
    arriving, leaving = curves[:, 3] - curves[:, 2], np.roll(curves[:, 1] - curves[:, 0], -1, axis=0)
    cosines = (arriving * leaving).sum(axis=1) / np.linalg.norm(arriving, axis=1) / np.linalg.norm(leaving, axis=1)
    assert np.count_nonzero(cosines < 0.99) <= 4
    assert np.abs(np.abs(points_on(curves) - 50).max(axis=1) - 30).max() < 1.5


def test_ink_at_the_rim_is_closed_there() -> None:
    (curves,) = traced(np.zeros((40, 60), np.uint8))
    points = points_on(curves)
    assert points.min(axis=0) == pytest.approx([0, 0], abs=0.3)
    assert points.max(axis=0) == pytest.approx([60, 40], abs=0.3)


def test_specks_and_white_pages_have_no_outlines() -> None:
    page = np.full((50, 50), 255, np.uint8)
    assert traced(page) == []
    page[20, 20] = 110  # covers half a pixel
    assert traced(page) == []
