"""Strokes that touch no person are taken off the page."""

import numpy as np

from apdraw_cli.conversion.strays import REACH, without_strays
from engines.portrait import Image

SIDE = 64


def person() -> Image:
    """A mask of a person in the middle."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:44, 20:44] = 255
    return mask


def page() -> Image:
    return np.full((SIDE, SIDE), 255, np.uint8)


def test_what_touches_the_person_stays_as_it_is() -> None:
    drawing = page()
    drawing[30, 25:63] = 0  # from the face to the rim
    drawing[29, 25:63] = drawing[31, 25:63] = 200  # its soft edges
    drawing[24:28, 24:28] = 90
    assert (without_strays(drawing, person()) == drawing).all()


def test_what_touches_nobody_goes() -> None:
    drawing = page()
    drawing[40, 30:43] = 0
    wanted = drawing.copy()
    drawing[:, 60] = 0  # a door behind
    drawing[5, 5] = 120
    drawing[10:12, 50:55] = 240  # a shade of the page
    assert (without_strays(drawing, person()) == wanted).all()


def test_a_contour_beside_the_mask_stays() -> None:
    drawing = page()
    drawing[20 - REACH + 1, 25:40] = 0
    assert (without_strays(drawing, person()) == drawing).all()
    drawing = np.roll(drawing, -4, axis=0)
    assert (without_strays(drawing, person()) == 255).all()


def test_without_a_person_all_stays() -> None:
    drawing = page()
    drawing[::7] = 0
    assert (without_strays(drawing, np.zeros_like(drawing)) == drawing).all()
