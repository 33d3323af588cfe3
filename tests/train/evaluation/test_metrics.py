import cv2
import numpy as np
import pytest
from scipy import linalg, ndimage

from train.evaluation import metrics as measures

RNG = np.random.default_rng(0)


def blank(size: int = 96) -> np.ndarray:
    return np.full((size, size), 255, np.uint8)


def drawing(size: int = 96) -> np.ndarray:
    """A face of sorts: outline, eyes, filled hair."""
    page = blank(size)
    middle = size // 2
    cv2.ellipse(page, (middle, middle), (size // 3, size // 5 * 2), 0, 0, 360, 0, 1)
    cv2.circle(page, (middle - size // 8, middle - 5), 3, 0, -1)
    cv2.circle(page, (middle + size // 8, middle - 5), 3, 0, 2)
    cv2.rectangle(page, (middle - size // 3, 2), (middle + size // 3, size // 6), 0, -1)
    return page


def scribble(size: int = 64, density: float = 0.1) -> np.ndarray:
    return np.where(RNG.random((size, size)) < density, RNG.integers(0, 128, (size, size)), 255).astype(np.uint8)


def test_l1():
    assert measures.l1(drawing(), drawing()) == 0
    assert measures.l1(blank(), blank() * 0) == 1
    one, other = scribble(), scribble()
    assert measures.l1(one, other) == pytest.approx(np.abs(one / 255.0 - other / 255.0).mean())


def gaussian_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity by scipy's filters, in float64."""
    one, other = one / 255.0, other / 255.0

    def smooth(picture: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(picture, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]  # 11 x 11, inside the picture

    mean, other_mean = smooth(one), smooth(other)
    variance, other_variance = smooth(one * one) - mean**2, smooth(other * other) - other_mean**2
    covariance = smooth(one * other) - mean * other_mean
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean * other_mean + c1) * (2 * covariance + c2)
    return float((likeness / ((mean**2 + other_mean**2 + c1) * (variance + other_variance + c2))).mean())


def test_ssim_is_the_usual_one():
    assert measures.ssim(drawing(), drawing()) == pytest.approx(1, abs=1e-6)
    for one, other in [(scribble(), scribble()), (drawing(), scribble(96)), (drawing(), blank())]:
        assert measures.ssim(one, other) == pytest.approx(gaussian_ssim(one, other), abs=1e-4)


def nearest(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The distance of each point to the nearest target, by trying all."""
    return np.sqrt(((points[:, None] - targets[None]) ** 2).sum(axis=2).min(axis=1))


def brute_chamfer(one: np.ndarray, other: np.ndarray) -> float:
    """Eq. 4 and 5 as `chamfer_distance` describes them, pixel by pixel."""

    def line(binary: np.ndarray, tone: bool) -> np.ndarray:
        height, width = binary.shape
        return np.array(
            [
                (y, x)
                for y, x in np.argwhere(binary == tone)
                if any(
                    binary[v, u] != tone
                    for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                    if 0 <= v < height and 0 <= u < width
                )
            ]
        )

    total = 0.0
    for a, b in ((one > 127, other > 127), (other > 127, one > 127)):
        for tone in (False, True):
            total += nearest(line(a, tone), np.argwhere(b == tone)).mean() / 2
    return float(total)


def test_chamfer_is_that_of_the_paper_over_all_pixels():
    for one, other in [(scribble(40), scribble(40, 0.02)), (drawing(60), scribble(60, 0.01))]:
        assert measures.chamfer_distance(one, other) == pytest.approx(brute_chamfer(one, other), rel=1e-6)
        assert measures.chamfer_distance(other, one) == pytest.approx(brute_chamfer(one, other), rel=1e-6)


def test_the_distance_maps_are_exact():
    black = np.zeros((512, 512), bool)
    black[100, 37] = black[420, 471] = True  # far apart, where approximate maps are wrong by pixels
    page = np.where(black, 0, 255).astype(np.uint8)
    other = blank(512)
    other[250:255, 250:255] = 0
    exact = ndimage.distance_transform_edt(~black)
    lines = np.s_[250:255, 250:255]
    ring = np.ones((5, 5), bool)
    ring[1:-1, 1:-1] = False
    there = exact[lines][ring].mean()
    back = ndimage.distance_transform_edt(other == 255)[black].mean()
    # The white pixels around either are white in both.
    assert measures.chamfer_distance(other, page) == pytest.approx((there + back) / 2, rel=1e-6)


@pytest.mark.parametrize(("kind", "shift"), [("area", 1), ("area", 3), ("area", 8), ("line", 2), ("line", 8)])
def test_chamfer_tells_a_shift_in_pixels(kind, shift):
    page, moved = blank(), blank()
    page[:, 40 : 41 if kind == "line" else 96] = 0
    moved[:, 40 + shift : 41 + shift if kind == "line" else 96] = 0
    assert measures.chamfer_distance(page, moved) == pytest.approx(shift)


def test_chamfer_of_drawings_without_lines():
    diagonal = np.hypot(96, 96)
    assert measures.chamfer_distance(blank(), blank()) == 0
    assert measures.chamfer_distance(drawing(), drawing()) == 0
    assert measures.chamfer_distance(blank(), drawing()) == measures.chamfer_distance(drawing(), blank())
    assert measures.chamfer_distance(blank(), drawing()) == pytest.approx(diagonal / 2)
    assert measures.chamfer_distance(blank(), blank() * 0) == 0  # neither has a line


def test_the_more_a_drawing_is_shifted_blurred_or_noisy_the_worse_it_scores():
    page = drawing(192)
    noise = RNG.random(page.shape)
    shifted = [np.roll(page, (0, step), (0, 1)) for step in (0, 1, 2, 4)]
    blurred = [page, *(cv2.GaussianBlur(page, (0, 0), sigma) for sigma in (1, 2, 4))]
    noisy = [np.where(noise < share, 255 - page, page) for share in (0, 0.01, 0.05, 0.2)]
    for series in (shifted, blurred, noisy):
        assert np.all(np.diff([measures.l1(p, page) for p in series]) > 0)
        assert np.all(np.diff([measures.ssim(p, page) for p in series]) < 0)
    for series in (shifted, noisy):
        assert np.all(np.diff([measures.chamfer_distance(p, page) for p in series]) > 0)
    assert np.all(np.diff([measures.two_tone_share(p) for p in blurred]) < 0)


def test_two_tone_share():
    page = np.array([[0, 39, 40, 128], [215, 216, 255, 127]], np.uint8)
    assert measures.two_tone_share(page) == 0.5


def test_background_brightness():
    page = np.array([[250, 10], [240, 20]], np.uint8)
    mask = np.array([[0, 255], [127, 128]], np.uint8)
    assert measures.background_brightness(page, mask) == 245
    assert measures.background_brightness(page, mask * 0 + 255) is None


def frechet_by_square_root(one: np.ndarray, other: np.ndarray) -> float:
    covariances = [np.cov(features, rowvar=False) for features in (one, other)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    means = one.mean(axis=0) - other.mean(axis=0)
    return float(means @ means + np.trace(covariances[0] + covariances[1] - 2 * root))


def features(count: int, width: int, scale: float = 1, shift: float = 0) -> np.ndarray:
    mix = RNG.normal(size=(width, width)) * scale
    return (RNG.normal(size=(count, width)) @ mix + shift).astype(np.float32)


def test_a_smudge_is_grey_and_wider_than_the_rim_of_a_stroke():
    page = blank(100)
    page[10:30, 10:12] = 128  # a rim
    page[50:90, 50:90] = 0
    assert measures.largest_smudge(page) == 0
    page[40:50, 20:30] = 41
    page[60:64, 10:15] = 214
    assert measures.largest_smudge(page) == 0.01
    page[40:50, 20:30] = 39
    assert measures.largest_smudge(page) == 0.002


@pytest.mark.parametrize(("count", "other"), [(400, 300), (33, 500)])
def test_frechet_distance_is_that_of_a_matrix_square_root(count, other):
    one, two = features(count, 24), features(other, 24, 2, 0.5)
    expected = frechet_by_square_root(one.astype(np.float64), two.astype(np.float64))
    assert measures.frechet_distance(one, two) == pytest.approx(expected, rel=1e-8)
    assert measures.frechet_distance(two, one) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_fewer_drawings_than_features():
    """The covariances are singular: the square root is taken of a positive matrix instead, exactly symmetric."""
    one, two = features(10, 40).astype(np.float64), features(14, 40, 2).astype(np.float64)
    covariance, other = (np.cov(f, rowvar=False) for f in (one, two))
    values, vectors = np.linalg.eigh(covariance)
    half = vectors * np.sqrt(values.clip(0)) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(half @ other @ half).clip(0)).sum()
    means = one.mean(axis=0) - two.mean(axis=0)
    expected = means @ means + np.trace(covariance) + np.trace(other) - 2 * common
    assert measures.frechet_distance(one, two) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_where_it_is_known():
    one = features(50, 8)
    assert measures.frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert measures.frechet_distance(one, one[::-1]) == pytest.approx(0, abs=1e-9)
    assert measures.frechet_distance(one, one + np.float32(3)) == pytest.approx(8 * 9, rel=1e-5)  # moved only
    # Twice as wide: tr(S + 4 S - 2 * 2 S) = tr S; and the mean moves by itself.
    exact = one.astype(np.float64)
    moved = np.square(exact.mean(axis=0)).sum()
    assert measures.frechet_distance(exact, 2 * exact) == pytest.approx(np.cov(exact, rowvar=False).trace() + moved)


def test_frechet_distance_of_too_little():
    with pytest.raises(ValueError, match="two drawings"):
        measures.frechet_distance(features(1, 4), features(5, 4))
    with pytest.raises(ValueError, match="features"):
        measures.frechet_distance(features(5, 3), features(5, 4))
