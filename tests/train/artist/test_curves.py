import cv2
import numpy as np
import pytest

from train.artist.canvas import SIDE, Canvas, box_around, polygon_mask
from train.artist.curves import (
    normals_away,
    resample,
    runs,
    smoothed,
    snap,
    spline,
    strong_runs,
    taper,
)


def drawn_line(points, thickness=5):
    plane = np.ones((300, 300), np.float32)
    cv2.polylines(plane, [np.asarray(points, np.int32)], False, 0.0, thickness, cv2.LINE_AA)
    return cv2.GaussianBlur(plane, (0, 0), 1)


def test_resampled_at_equal_steps_with_both_ends():
    curve = resample([(0, 0), (30, 0), (30, 60)], 1.5)
    steps = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    assert np.allclose(curve[[0, -1]], [(0, 0), (30, 60)])
    assert steps.max() < 1.6
    assert steps.min() > 1.0


def test_spline_keeps_ends_and_rounds_corners():
    curve = spline([(0, 0), (50, 0), (50, 50)], sigma=8)
    assert np.allclose(curve[[0, -1]], [(0, 0), (50, 50)], atol=0.2)
    assert np.linalg.norm(curve - (50, 0), axis=1).min() > 2


def test_smoothed_closed_wraps_and_open_does_not():
    spike = np.zeros(40)
    spike[0] = 1
    assert smoothed(spike, 2, closed=True)[-1] > 0.1
    assert smoothed(spike, 2)[-1] == pytest.approx(0)
    assert smoothed(np.ones((7, 5)), 3, axis=1) == pytest.approx(np.ones((7, 5)))


@pytest.mark.parametrize("aside", [-5, 0, 5])
def test_snap_finds_a_dark_line_beside_the_guess(aside):
    plane = drawn_line([(40, 150), (260, 150)])
    found = snap(plane, resample([(50, 150 + aside), (250, 150 + aside)]), 8)
    assert np.abs(found.curve[5:-5, 1] - 150).max() < 0.8
    assert found.strength[5:-5].min() > 0.1


def test_snap_finds_an_edge_of_the_wanted_sign_only():
    plane = np.zeros((300, 300), np.float32)
    plane[145:] = 1.0
    plane[157:] = 0.0  # rises at 145, falls at 157
    curve = resample([(50, 150), (250, 150)])  # its normals point down
    rising = snap(plane, curve, 9, feature="edge", sign=1)
    falling = snap(plane, curve, 9, feature="edge", sign=-1)
    assert np.median(rising.curve[:, 1]) == pytest.approx(144.5, abs=1)
    assert np.median(falling.curve[:, 1]) == pytest.approx(156.5, abs=1)


def test_snap_is_weak_where_nothing_is_drawn():
    assert snap(np.ones((300, 300), np.float32), resample([(50, 150), (250, 150)]), 8).strength.max() < 1e-6


def test_strong_runs_need_strength_and_length():
    strength = np.zeros(100)
    strength[10:40] = 0.05
    strength[20:32] = 0.2
    strength[60:95] = 0.05
    assert runs(strength > 0) == [(10, 40), (60, 95)]
    assert strong_runs(strength, 0.1, 0.02, 20) == [(10, 40)]
    assert strong_runs(strength, 0.1, 0.02, 31) == []


def test_normals_away_point_outwards():
    angle = np.linspace(0, 2, 50)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 30
    for curve in (arc, arc[::-1]):
        assert ((normals_away(curve, (0, 0)) * curve).sum(axis=1) > 25).all()


@pytest.mark.parametrize("width", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("factor", [1.0, 1.6])
def test_stroke_is_as_wide_as_asked(width, factor):
    canvas = Canvas(factor)
    canvas.stroke(resample([(200, 300), (800, 480)]), width)
    ink = 1 - canvas.drawing().astype(float) / 255
    across = ink[:, 150:350].sum(axis=0).mean() * np.cos(np.arctan2(180, 600))
    assert across == pytest.approx(width * factor, abs=0.2)


def test_taper_thins_the_ends():
    width = taper(50)
    assert width[0] == pytest.approx(0.15)
    assert width[-1] == pytest.approx(0.15)
    assert width[25] == pytest.approx(1)


def test_boxes_stay_in_the_portrait():
    box = box_around([(-20, 1000), (40, 1100)], 10)
    assert box == (0, 990, 51, SIDE)
    assert np.zeros((SIDE, SIDE))[box.window].shape == (34, 51)


def test_polygon_and_disc_lie_where_asked():
    canvas = Canvas()
    canvas.polygon([(100, 100), (300, 100), (300, 300), (100, 300)])
    canvas.disc((200, 200), 50, erase=True)
    ink = 1 - canvas.drawing().astype(float) / 255
    assert ink.sum() == pytest.approx(100**2 - np.pi * 25**2, rel=0.03)
    assert ink[100, 100] == 0
    assert polygon_mask([(100, 100), (300, 100), (300, 300), (100, 300)]).sum() == pytest.approx(200**2, rel=0.02)
