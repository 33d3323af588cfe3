import cv2
import numpy as np
import pytest
import torch

from train.distance_transform import RADIUS, exact_distances, soft_distances


def lines(seed=0, size=96):
    """A two-tone drawing of strokes, circles and a black area."""
    rng = np.random.default_rng(seed)
    page = np.full((size, size), 255, np.uint8)
    cv2.rectangle(page, (size // 2, size // 2), (size - 8, size - 20), 0, -1)
    for _ in range(4):
        start, end = rng.integers(0, size, (2, 2)).tolist()
        cv2.line(page, start, end, 0, 1)
        cv2.circle(page, start, int(rng.integers(3, 20)), int(rng.choice([0, 255])), 1)
    return torch.from_numpy(page.astype(np.float32) / 127.5 - 1)[None, None]


def brute_force(sources):
    """Distance to the nearest true value, [H, W]."""
    y, x = np.nonzero(sources)
    rows, columns = np.indices(sources.shape)
    return np.sqrt((rows[..., None] - y) ** 2 + (columns[..., None] - x) ** 2).min(-1)


def test_exact_distances_are_those_of_every_pair_of_pixels():
    drawings = torch.from_numpy(np.random.default_rng(1).choice([-1, 1], (2, 1, 20, 28), p=[0.04, 0.96])).float()
    drawings[1] *= -1
    to_black, to_white = exact_distances(drawings)
    for index, drawing in enumerate(drawings[:, 0].numpy()):
        np.testing.assert_allclose(to_black[index, 0], brute_force(drawing < 0), atol=1e-4)
        np.testing.assert_allclose(to_white[index, 0], brute_force(drawing > 0), atol=1e-4)


def test_greys_up_to_127_count_as_black():
    drawing = torch.tensor([[[[127.0, 128.0]]]]) / 127.5 - 1
    to_black, to_white = exact_distances(drawing)
    assert to_black.flatten().tolist() == [0, 1]
    assert to_white.flatten().tolist() == [1, 0]


def test_a_tone_that_is_missing_is_a_diagonal_away():
    drawings = torch.stack([torch.full((1, 30, 40), tone) for tone in (1.0, -1.0)])
    to_black, to_white = exact_distances(drawings)
    assert to_black[0].eq(50).all()
    assert to_black[1].eq(0).all()
    assert to_white[0].eq(0).all()
    assert to_white[1].eq(50).all()


@pytest.mark.parametrize("seed", range(3))
def test_soft_distances_of_two_tones_are_nearly_exact(seed):
    drawing = lines(seed)
    for soft, exact in zip(soft_distances(drawing), exact_distances(drawing), strict=True):
        wanted = exact.clamp(max=RADIUS)
        assert soft[exact == 0].eq(0).all()
        assert (soft - wanted).abs().max() < 1.3
        assert (soft - wanted).abs().mean() < 0.25


def test_soft_distances_are_exact_beside_a_straight_line_up_to_the_radius():
    drawing = torch.ones(1, 1, 9, 64)
    drawing[..., 20] = -1
    to_black, to_white = soft_distances(drawing)
    assert to_black[0, 0, 4].tolist() == [min(abs(x - 20), RADIUS) for x in range(64)]
    assert to_white[0, 0, 4].tolist() == [float(x == 20) for x in range(64)]


def test_soft_distances_of_greys_are_the_mean_over_thresholds():
    levels = 8
    greys = torch.randint(0, levels + 1, (1, 1, 24, 24), generator=torch.Generator().manual_seed(0)) / levels
    to_black, to_white = soft_distances(2 * greys - 1, radius=5)
    of_thresholds = [soft_distances(torch.where(greys > k / levels, 1.0, -1.0), radius=5) for k in range(levels)]
    torch.testing.assert_close(to_black, torch.stack([black for black, _ in of_thresholds]).mean(0))
    torch.testing.assert_close(to_white, torch.stack([white for _, white in of_thresholds]).mean(0))


def test_gradient_is_the_numerical_one():
    drawing = torch.rand(2, 1, 9, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    assert torch.autograd.gradcheck(lambda x: soft_distances(x, radius=5), (drawing.requires_grad_(),))


@pytest.mark.parametrize("page", [1.0, -1.0])
def test_a_missing_line_is_called_for_where_it_is_missing(page):
    drawing = torch.full((1, 1, 40, 40), page)
    drawing[..., 12] = -page
    drawing.requires_grad_()
    distance = soft_distances(drawing)[0 if page > 0 else 1][0, 0, 20, 19]
    assert distance.item() == 7
    (slope,) = torch.autograd.grad(distance, drawing)
    # Ink takes two steps from -1 to 1, and the 7 pixels with them.
    assert slope[0, 0, 20, 19].item() == page * 7 / 2
    slope[0, 0, 20, 19] = 0
    assert slope[..., 13:].eq(0).all()


def test_distances_fall_as_a_line_comes_nearer():
    means = []
    for column in (30, 26, 23, 21):
        drawing = torch.ones(1, 1, 40, 48)
        drawing[..., column] = -1
        means.append(soft_distances(drawing)[0][..., 20].mean().item())
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1]


@pytest.mark.parametrize("page", [1.0, -1.0])
def test_one_tone_alone_is_the_radius_away_with_a_finite_gradient(page):
    drawing = torch.full((1, 1, 24, 24), page, requires_grad=True)
    there, missing = soft_distances(drawing) if page < 0 else soft_distances(drawing)[::-1]
    assert there.eq(0).all()
    assert missing.eq(RADIUS).all()
    (slope,) = torch.autograd.grad(missing.sum(), drawing)
    assert slope.eq(page * RADIUS / 2).all()


def test_drawings_of_a_batch_are_measured_by_themselves():
    drawings = torch.cat([lines(seed, 64) for seed in range(3)])
    for measure in (soft_distances, exact_distances):
        together = measure(drawings)
        alone = [measure(drawing) for drawing in drawings.split(1)]
        for tone in range(2):
            torch.testing.assert_close(together[tone], torch.cat([maps[tone] for maps in alone]), rtol=0, atol=0)


def test_half_precision_drawings_are_measured_in_float32():
    to_black, to_white = soft_distances(lines().bfloat16())
    assert to_black.dtype == to_white.dtype == torch.float32
    torch.testing.assert_close(to_black, soft_distances(lines())[0])
