import numpy as np

from train.artist.tracing import find_seeds, ridge_strokes


def waves(period=20.0, side=200):
    """Horizontal ridges and the flow along them."""
    rows = np.arange(side, dtype=np.float32)
    response = np.repeat(np.cos(2 * np.pi * rows / period)[:, None], side, axis=1).astype(np.float32)
    flow = np.zeros((side, side, 2), np.float32)
    flow[..., 0] = 1
    return response, flow


def test_seeds_lie_on_ridges():
    response, flow = waves()
    seeds = find_seeds(response, flow, np.ones(response.shape, bool), 0.9)
    assert len(seeds.places) > 100
    off = np.abs((seeds.places[:, 1] + 10) % 20 - 10)
    assert off.max() <= 1
    assert (np.diff(seeds.strength) <= 0).all()


def test_one_stroke_along_each_ridge():
    response, flow = waves()
    where = np.zeros(response.shape, bool)
    where[30:170, 40:160] = True
    strokes = ridge_strokes(response, flow, where, high=0.5, low=0.2, shortest=60, separation=5)
    rows = sorted(round(float(np.median(stroke.curve[:, 1]))) for stroke in strokes)
    assert rows == [40, 60, 80, 100, 120, 140, 160]
    for stroke in strokes:
        assert np.ptp(stroke.curve[:, 0]) > 100
        assert stroke.curve[:, 0].min() > 38
        assert stroke.response.min() > 0.2


def test_no_stroke_without_a_strong_seed():
    response, flow = waves()
    where = np.ones(response.shape, bool)
    assert ridge_strokes(0.3 * response, flow, where, high=0.5, low=0.2, shortest=20) == []


def test_strokes_start_seeds_in_both_directions():
    response, flow = waves()
    flow = -flow
    strokes = ridge_strokes(response, flow, np.ones(response.shape, bool), high=0.9, low=0.2, shortest=30, reach=40)
    assert len(strokes) >= 9
    assert all(np.ptp(stroke.curve[:, 0]) > 35 for stroke in strokes)
