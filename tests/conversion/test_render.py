"""Pages are white where the photo does not reach, and as they were drawn elsewhere."""

import numpy as np

from apdraw_cli.conversion.portraits import Prepared
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.render import render
from apdraw_cli.faces.align import IDENTITY
from apdraw_cli.faces.detect import Face
from apdraw_cli.faces.extract import DetectedPortrait
from engines.portrait import SIZE, TEMPLATE, Portrait


def prepared(width: int, height: int) -> Prepared:
    blank = np.zeros((SIZE, SIZE, 3), np.uint8)
    face = Face((100.0, 100.0, 200.0, 200.0), 1.0, TEMPLATE)
    portrait = DetectedPortrait(face, IDENTITY, Portrait(blank, TEMPLATE, blank[..., 0]))
    return Prepared((portrait,), (width, height), {})


def test_beyond_the_photo_a_page_is_white() -> None:
    black = np.zeros((SIZE, SIZE), np.uint8)
    (page,) = render([black], prepared(300, 400), Recipe())
    assert page.dtype == np.uint8
    assert (page[:400, :300] == 0).all()
    assert (page[400:] == 255).all()
    assert (page[:, 300:] == 255).all()
    (page,) = render([black], prepared(SIZE, SIZE), Recipe())
    assert (page == 0).all()
