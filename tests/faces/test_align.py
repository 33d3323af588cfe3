from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apdraw_cli.faces.align import apply, beyond_photo, enlarged, inside_photo, similarity, warp_labels, warp_photo
from apdraw_cli.faces.detect import Face
from apdraw_cli.faces.doubts import misfit, roll
from engines.portrait import SIZE, TEMPLATE


def moved(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    return (TEMPLATE @ turn.T + shift).astype(np.float32)


@pytest.mark.parametrize(("angle", "scale"), [(0.0, 1.0), (0.4, 0.5), (-2.0, 3.0)])
def test_a_similarity_is_undone_exactly(angle: float, scale: float) -> None:
    landmarks = moved(angle, scale, (40, -7))
    assert apply(similarity(landmarks), landmarks) == pytest.approx(TEMPLATE, abs=1e-3)


def test_it_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(0)
    landmarks = moved(0.2, 1.7, (10, 20)) + rng.normal(0, 6, (5, 2)).astype(np.float32)

    def error(transform: np.ndarray) -> float:
        return float(((apply(transform, landmarks) - TEMPLATE) ** 2).sum())

    # An independent solver of the same four unknowns.
    x, y = landmarks.T.astype(np.float64)
    ones, zeros = np.ones(5), np.zeros(5)
    rows = np.concatenate([np.stack([x, -y, ones, zeros], 1), np.stack([y, x, zeros, ones], 1)])
    a, b, tx, ty = np.linalg.lstsq(rows, TEMPLATE.T.ravel().astype(np.float64), rcond=None)[0]
    best = np.array([[a, -b, tx], [b, a, ty]])
    assert similarity(landmarks) == pytest.approx(best, abs=1e-6)
    assert error(similarity(landmarks)) <= error(best) + 1e-3


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    transform = similarity(moved(0, 1, (0, 0)) * np.array([-1, 1], np.float32))
    assert np.linalg.det(transform[:, :2]) > 0


def test_landmarks_on_one_point_are_refused() -> None:
    with pytest.raises(ValueError, match="one point"):
        similarity(np.full((5, 2), 3, np.float32))


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_what_is_at_a_landmark_arrives_at_the_template(scale: float) -> None:
    landmarks = moved(0.3, scale, (300 * scale, 200 * scale))
    height, width = (int(v) for v in landmarks.max(axis=0)[::-1] + 300 * scale)
    y, x = np.mgrid[0:height, 0:width]
    photo = np.full((height, width, 3), 200, np.uint8)
    for colour, (px, py) in enumerate(landmarks[:3]):
        photo[(x - px) ** 2 + (y - py) ** 2 < (9 * scale) ** 2] = np.eye(3)[colour] * 255
    portrait = warp_photo(photo, similarity(landmarks))
    for colour, point in enumerate(TEMPLATE[:3]):
        spot = np.argwhere(portrait[..., colour].astype(int) - portrait.sum(axis=2) // 3 > 100)
        assert spot.mean(axis=0)[::-1] == pytest.approx(point, abs=0.5)


def test_beyond_the_photo_is_white_or_its_rim() -> None:
    photo = np.zeros((200, 200, 3), np.uint8)
    shift = np.array([[1, 0, 100], [0, 1, 100]], np.float64)
    inside = inside_photo(photo.shape, shift)
    assert (warp_photo(photo, shift)[inside == 0] == 255).all()
    assert (warp_photo(photo, shift)[inside > 0] == 0).all()
    assert (warp_photo(photo, shift, replicate=True) == 0).all()
    assert inside.shape == (SIZE, SIZE)
    assert (inside > 0).sum() == 200 * 200


@pytest.mark.parametrize("angle", [0.0, 0.3, 2.0])
def test_what_lies_beyond_a_photo(angle: float) -> None:
    transform = similarity(moved(angle, 0.6, (150, 80)))
    beyond = beyond_photo((300, 200), transform)
    inside = inside_photo((200, 300, 3), transform)
    # But for the rim, where interpolation mixes both.
    assert np.mean(beyond == (inside == 0)) > 0.99
    assert not beyond_photo((10_000, 10_000), similarity(moved(angle, 1.0, (5000, 5000)))).any()


@pytest.mark.parametrize("angle", [0.0, 0.3])
@pytest.mark.parametrize("shift", [(5000, 5000), (100, 5000), (5000, 100), (9900, 5000), (5000, 9950), (100, 9950)])
def test_what_lies_beyond_is_told_pixel_by_pixel(angle: float, shift: tuple[float, float]) -> None:
    transform = similarity(moved(angle, 1.0, shift))
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    pixels = np.stack([columns.ravel(), rows.ravel()], 1)
    places = (pixels - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    expected = ((places < -0.5) | (places > np.array([10_000, 10_000]) - 0.5)).any(axis=1)
    assert 0 <= expected.mean() < 1
    assert np.mean(beyond_photo((10_000, 10_000), transform).ravel() == expected) > 0.9999


def test_labels_stay_labels() -> None:
    labels = np.repeat(np.arange(3, dtype=np.uint8), 100)[None].repeat(300, 0)
    aligned = warp_labels(labels, np.array([[1.3, 0.2, 5], [-0.2, 1.3, 60]]))
    assert set(np.unique(aligned)) == {0, 1, 2}


def test_the_template_is_a_face() -> None:
    left, right, nose, mouth_left, mouth_right = TEMPLATE
    assert left[0] < nose[0] < right[0]
    assert all(a < b for a, b in pairwise([left[1], nose[1], mouth_left[1]]))
    assert mouth_left[1] == mouth_right[1]
    assert [*left, *nose] == pytest.approx([201.143, 246.857, 256.0, 311.771], abs=1e-3)


@given(
    angle=st.floats(-3.1, 3.1),
    scale=st.floats(0.01, 100),
    x=st.floats(-1e4, 1e4),
    y=st.floats(-1e4, 1e4),
    factor=st.sampled_from((1.0, 2.0, 3.7, 8.0)),
)
def test_any_similarity_is_undone_at_any_reduction(
    angle: float, scale: float, x: float, y: float, factor: float
) -> None:
    landmarks = moved(angle, scale, (x, y))
    precision = 1e-2 + 1e-3 * (abs(x) + abs(y)) / scale  # of float32 far from the origin
    assert apply(similarity(landmarks), landmarks) == pytest.approx(TEMPLATE, abs=precision)
    assert misfit(landmarks) < precision
    if precision < 0.1:
        assert np.cos(np.radians(roll(landmarks)) + angle) == pytest.approx(1, abs=1e-3)
    face = Face((0.0, 0.0, 10.0, 10.0), 1.0, landmarks)
    found = apply(enlarged(similarity(landmarks), factor), face.enlarged(factor).landmarks)
    assert found == pytest.approx(TEMPLATE, abs=2 * precision)
