"""Sizes are pixels or lengths in print; what makes no sense is refused."""

import pytest

from apdraw_cli.conversion.options import ConvertOptions, PageOptions
from engines.errors import OptionsError


@pytest.mark.parametrize(
    ("size", "dpi", "side"),
    [
        (None, 300, None),
        (1181, 300, 1181),
        ("10cm", 300, 1181),
        ("100mm", 300, 1181),
        ("2.5cm", 254, 250),
        ("4in", 600, 2400),
    ],
)
def test_sizes_are_pixels_or_lengths(size: int | str | None, dpi: float, side: int | None) -> None:
    assert PageOptions(size=size, dpi=dpi).side == side


@pytest.mark.parametrize("size", [0, 15, 10_001, -3, "10", "10 cm", "10px", "cm", "1e3cm", "", "10cm high", "1m"])
def test_other_sizes_are_refused(size: int | str) -> None:
    with pytest.raises(OptionsError, match=r"size must be from 16 to 10000 pixels, given as in 1181 or 10cm"):
        PageOptions(size=size)


def test_a_length_is_limited_in_pixels() -> None:
    with pytest.raises(OptionsError, match="not 1in"):
        PageOptions(size="1in", dpi=12)  # too few pixels
    with pytest.raises(OptionsError, match="not 90cm"):
        PageOptions(size="90cm", dpi=300)


def test_resolution_is_positive() -> None:
    for dpi in (0, -1, float("nan"), float("inf")):
        with pytest.raises(OptionsError, match="dpi"):
            PageOptions(dpi=dpi)


def test_options_of_pages_go_by_their_names() -> None:
    assert ConvertOptions.of("p", size="10cm").page == PageOptions(size="10cm")
