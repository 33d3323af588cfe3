import numpy as np
import pytest

from apdraw_cli.faces.reduce import halved, reduced


def spot(height: int, width: int, x: float, y: float) -> np.ndarray:
    """A soft white spot on black."""
    rows, columns = np.mgrid[0:height, 0:width]
    value = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 20.0**2))
    return np.repeat(np.rint(value).astype(np.uint8)[..., None], 3, axis=2)


def centre(photo: np.ndarray) -> np.ndarray:
    """Where the spot is: x, y."""
    rows, columns = np.mgrid[0 : photo.shape[0], 0 : photo.shape[1]]
    weight = photo[..., 0].astype(np.float64)
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("scale", [1.0, 0.9, 0.5, 0.37, 0.2])
@pytest.mark.parametrize("size", [(400, 600), (401, 603)])
def test_points_are_found_again_by_the_factors(scale: float, size: tuple[int, int]) -> None:
    photo = spot(*size, 333.3, 150.7)
    small, factors = reduced(photo, scale)
    assert small.shape == (round(size[0] * scale), round(size[1] * scale), 3)
    assert (centre(small) + 0.5) * factors - 0.5 == pytest.approx([333.3, 150.7], abs=0.05)


@pytest.mark.parametrize(("scale", "factor"), [(2.0, 1), (0.51, 1), (0.5, 2), (0.26, 2), (0.25, 4)])
def test_a_photo_is_halved_down_to_no_less_than_is_wanted(scale: float, factor: int) -> None:
    photo = spot(400, 603, 333.3, 150.7)
    small, found = halved(photo, scale)
    assert (found, small.shape) == (factor, (400 // factor, 603 // factor, 3))
    assert (centre(small) + 0.5) * factor - 0.5 == pytest.approx([333.3, 150.7], abs=0.05)


@pytest.mark.parametrize("scale", [0.5, 0.3, 0.1])
def test_a_grey_made_of_dots_stays_grey(scale: float) -> None:
    rows, columns = np.mgrid[0:512, 0:512]
    dots = np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    assert np.abs(reduced(dots, scale)[0].astype(int) - 128).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 2)])
def test_a_side_is_never_lost(size: tuple[int, int]) -> None:
    small, _ = reduced(np.full((*size, 3), 7, np.uint8), 0.01)
    assert min(small.shape[:2]) >= 1
    assert (small == 7).all()
