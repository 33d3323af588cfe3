"""Variation: what moves together, what the light changes, and what stays to be seen."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from engines.portrait import SIZE, TEMPLATE
from train.data.augmentation import Augmentation, _cast_shadow, vary

STILL = Augmentation(
    rotation=0, scale=1, flip=False, shift=0, landmark_jitter=0, mask_jitter=0, photometric=False, crop=0
)


def grey_ramp() -> np.ndarray:
    return np.repeat(np.linspace(40, 215, SIZE).astype(np.uint8)[None, :, None], SIZE, axis=0).repeat(3, axis=2)


@pytest.mark.parametrize("seed", range(4))
def test_everything_moves_together(seed: int) -> None:
    """A spot on photo, drawing and mask stays under its landmark; a flip swaps left and right."""
    photo = np.zeros((SIZE, SIZE, 3), np.uint8)
    for i, point in enumerate(np.rint(TEMPLATE).astype(int)):
        cv2.circle(photo, tuple(int(v) for v in point), 6, (50 + 40 * i,) * 3, -1)
    drawing, mask = photo[..., 0].copy(), np.where(photo[..., 0] > 0, 255, 0).astype(np.uint8)
    how = Augmentation(landmark_jitter=0, mask_jitter=0, photometric=False, crop=0)
    moved = vary(photo, drawing, mask, np.rint(TEMPLATE), how, np.random.default_rng(seed))
    landmarks = moved[3]
    order = range(5) if moved[0][tuple(np.rint(landmarks[0]).astype(int)[::-1])][0] < 70 else [1, 0, 2, 4, 3]
    for value, (x, y) in zip((50 + 40 * i for i in order), np.rint(landmarks).astype(int), strict=True):
        assert abs(int(moved[0][y, x, 0]) - value) < 6
        assert abs(int(moved[1][y, x]) - value) < 6
        assert moved[2][y, x] == 255
    assert landmarks[0][0] < landmarks[1][0]
    assert landmarks[3][0] < landmarks[4][0]


def test_without_any_variation_nothing_changes() -> None:
    photo, landmarks = grey_ramp(), np.rint(TEMPLATE)
    varied = vary(photo, photo[..., 0], photo[..., 1], landmarks, STILL, np.random.default_rng(0))
    for before, after in zip((photo, photo[..., 0], photo[..., 1], landmarks), varied, strict=True):
        assert np.array_equal(before, after)


def test_the_papers_variation_is_rotation_scale_and_flip_alone() -> None:
    how = Augmentation.paper()
    photo = np.full((SIZE, SIZE, 3), 120, np.uint8)
    photo[:, :256] = 60
    lengths, angles, flips = [], [], []
    landmarks = np.rint(TEMPLATE)
    for seed in range(60):
        varied = vary(photo, photo[..., 0], photo[..., 0], landmarks, how, np.random.default_rng(seed))
        seen = varied[0][100:400, 100:400]
        assert (seen.min(), seen.max()) == (60, 120)  # the light stays
        eyes = varied[3][1] - varied[3][0]
        lengths.append(np.hypot(*eyes) / np.hypot(*(landmarks[1] - landmarks[0])))
        angles.append(np.degrees(np.arctan2(eyes[1], eyes[0])))
        flips.append(bool(varied[0][256, 200, 0] == 120))
        away = [np.hypot(*(points.mean(axis=0) - (SIZE / 2 - 0.5))) for points in (varied[3], landmarks)]
        assert abs(away[0] / lengths[-1] - away[1]) < 1  # no shift
    assert 15 < sum(flips) < 45
    assert 0.99 < min(lengths) < 1.02
    assert 1.07 < max(lengths) < 1.11
    assert -10.1 < min(angles) < -7
    assert 7 < max(angles) < 10.1


def test_light_and_camera_change_the_photo_alone_and_leave_it_recognisable() -> None:
    photo, landmarks = grey_ramp(), np.rint(TEMPLATE)
    how = replace(STILL, photometric=True)
    changed = 0
    for seed in range(40):
        varied = vary(photo, photo[..., 0], photo[..., 1], landmarks, how, np.random.default_rng(seed))
        assert np.array_equal(varied[1], photo[..., 0])
        assert np.array_equal(varied[3], landmarks)
        changed += not np.array_equal(varied[0], photo)
        seen = varied[0].astype(np.float32)
        assert 25 < seen.mean() < 235
        rows = seen.mean(axis=2).reshape(-1)
        assert np.corrcoef(rows, photo[..., 0].reshape(-1))[0, 1] > 0.4
    assert changed > 30


def test_a_photo_that_ends_inside_the_portrait_is_white_beyond_and_keeps_the_features() -> None:
    photo, landmarks = np.full((SIZE, SIZE, 3), 90, np.uint8), np.rint(TEMPLATE)
    mask = np.full((SIZE, SIZE), 255, np.uint8)
    how = replace(STILL, crop=1)
    shares = []
    for seed in range(40):
        varied = vary(photo, photo[..., 0], mask, landmarks, how, np.random.default_rng(seed))
        beyond = varied[2] == 0
        assert (varied[0][beyond] == 255).all()
        assert (varied[1][beyond] == 255).all()
        assert (varied[0][~beyond] == 90).all()
        assert (varied[1][~beyond] == 90).all()
        for x, y in landmarks.astype(int):
            assert not beyond[y - 17 : y + 17, x - 17 : x + 17].any()
        shares.append(beyond.mean())
    assert min(shares) > 0.02
    assert max(shares) < 0.7


def test_shadows_have_edges_and_leave_something_to_see() -> None:
    edges = 0
    for seed in range(20):
        shadow = _cast_shadow(SIZE, SIZE, np.random.default_rng(seed))[..., 0]
        assert 0.3 < shadow.min() < 0.8
        assert 0.95 < shadow.max() < 1.2
        edges += np.abs(np.diff(shadow, axis=1)).max() > 0.02
    assert edges > 15
