import numpy as np
import pytest

from train.artist.drawing import Drawing, draw, draw_portrait
from train.artist.sitter import seat


@pytest.fixture(scope="module")
def drawing(sitter):
    return draw(sitter)


def test_a_drawing_is_black_on_white_with_a_clear_face(drawing):
    assert drawing.picture.shape == (512, 512)
    assert drawing.picture.dtype == np.uint8
    assert drawing.is_good
    face = drawing.picture[200:400, 160:350]
    assert 0.02 < (face < 128).mean() < 0.2


def test_the_same_photo_gives_the_same_drawing(portrait, drawing):
    assert np.array_equal(draw_portrait(*portrait).picture, drawing.picture)


def test_wider_strokes_give_more_ink_on_the_face(sitter, drawing):
    wide = draw(sitter, width=1.6)
    # Beside the eyes lies hair, whose white strands are wider too.
    thin_face, wide_face = (picture[225:385, 195:317] for picture in (drawing.picture, wide.picture))
    assert (wide_face < 128).sum() > 1.15 * (thin_face < 128).sum()


def test_the_mesh_must_fit(portrait):
    photo, transform, mesh, labels = portrait
    with pytest.raises(ValueError, match="478"):
        seat(photo, transform, mesh[:468], labels)
    with pytest.raises(ValueError, match="labels"):
        seat(photo, transform, mesh, labels[:100])


def test_the_gate_marks_a_drawing_without_clear_eyes():
    page = np.full((512, 512), 255, np.uint8)
    assert Drawing(page, {"eyes": 0.9, "mouth": 0.9}).is_good
    assert not Drawing(page, {"eyes": 0.02, "mouth": 0.9}).is_good
    assert not Drawing(page, {"eyes": 0.9, "mouth": 0.0}).is_good


def test_hidden_eyes_are_no_fault():
    assert Drawing(np.full((512, 512), 255, np.uint8), {"eyes": 0.0, "mouth": 0.9}, ("eyes",)).is_good
