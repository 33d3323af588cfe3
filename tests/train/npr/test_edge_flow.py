import cv2
import numpy as np

from train.npr import edge_flow as flow


def test_flow_runs_along_the_edges() -> None:
    y, x = np.mgrid[0:64, 0:64].astype(np.float32)
    stripes = np.sin((x + y) / 3).astype(np.float32)
    found = flow.tangent_flow(stripes, 2.0)[16:48, 16:48]
    assert np.abs(np.abs(found @ np.array([1, -1]) / np.sqrt(2)) - 1).max() < 0.02


def upright(shape: tuple[int, int]) -> np.ndarray:
    field = np.zeros((*shape, 2), np.float32)
    field[..., 1] = 1
    return field


def test_difference_of_gaussians_matches_a_plain_one_across_straight_lines() -> None:
    tone = np.ones((64, 64), np.float32)
    tone[:, 31:33] = 0
    found = flow.difference_across(tone, upright(tone.shape), 1.5)[32]
    plain = cv2.GaussianBlur(tone, (33, 33), 1.5) - cv2.GaussianBlur(tone, (33, 33), 1.5 * flow.RATIO)
    assert np.abs(found - plain[32])[8:56].max() < 0.02


def test_sigma_may_differ_from_pixel_to_pixel() -> None:
    tone = np.ones((64, 64), np.float32)
    tone[:, 31:33] = 0
    sigma = np.full(tone.shape, 1.0, np.float32)
    sigma[32:] = 2.0
    found = flow.difference_across(tone, upright(tone.shape), sigma)
    assert np.allclose(found[:32], flow.difference_across(tone, upright(tone.shape), 1.0)[:32], atol=1e-6)
    assert np.allclose(found[32:], flow.difference_across(tone, upright(tone.shape), 2.0)[32:], atol=1e-6)


def test_smoothing_along_a_circle_keeps_the_circle() -> None:
    y, x = np.mgrid[-40:41, -40:41].astype(np.float32)
    radius = np.hypot(x, y)
    ring = (np.abs(radius - 25) < 2).astype(np.float32)
    around = np.stack([-y, x], axis=-1) / np.maximum(radius, 1)[..., None]
    rng = np.random.default_rng(0)
    noisy = ring + rng.normal(0, 0.3, ring.shape).astype(np.float32)
    smoothed = flow.smooth_along(noisy, around.astype(np.float32), 4.0)
    near = (radius > 15) & (radius < 35)
    assert np.abs(smoothed - ring)[near].mean() < 0.5 * np.abs(noisy - ring)[near].mean()


def test_smoothing_ignores_the_sign_of_the_flow() -> None:
    rng = np.random.default_rng(1)
    plane = rng.random((40, 40)).astype(np.float32)
    field = upright(plane.shape)
    flipped = field * rng.choice([-1, 1], (40, 40, 1)).astype(np.float32)
    assert np.allclose(flow.smooth_along(plane, field, 3.0), flow.smooth_along(plane, flipped, 3.0), atol=1e-5)


def test_only_long_and_strong_lines_are_confident() -> None:
    lines = np.zeros((60, 60), bool)
    strength = np.zeros((60, 60), np.float32)
    for row, columns, value in ((10, 40, 1.0), (20, 5, 1.0), (30, 40, 0.3)):
        lines[row, 5 : 5 + columns] = True
        strength[row, 5 : 5 + columns] = value
    kept = flow.confident(lines, strength, 0.5, 0.2, 15)
    assert kept[10].sum() == 40
    assert not kept[20].any()
    assert not kept[30].any()


def test_weighted_mean_leaves_out_what_has_no_weight() -> None:
    plane = np.full((128, 128), 0.2, np.float32)
    weight = np.ones_like(plane)
    plane[40:80, 40:80], weight[40:80, 40:80] = 1.0, 0.0
    for sigma in (3.0, 16.0):
        assert np.abs(flow.weighted_mean(plane, weight, sigma)[:30] - 0.2).max() < 0.01
    assert abs(float(flow.weighted_mean(plane, weight, 16.0)[60, 60]) - 0.2) < 0.05
