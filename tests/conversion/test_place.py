"""Drawings lie where their faces were; where two portraits meet, the nearer face is seen."""

import cv2
import numpy as np
import pytest
import simplejpeg

from apdraw_cli.conversion.options import FaceOptions, PageOptions
from apdraw_cli.conversion.place import over_photo, placed
from apdraw_cli.conversion.portraits import Prepared
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.render import render
from apdraw_cli.faces.align import apply, similarity
from apdraw_cli.faces.detect import Face
from apdraw_cli.faces.extract import DetectedPortrait
from engines.portrait import SIZE, TEMPLATE, Image, Portrait

WIDTH, HEIGHT = 1200, 700


def portrait(scale: float, x: float, y: float, degrees: float = 0.0) -> DetectedPortrait:
    """A face whose portrait is `scale` times as large in the photo, its middle at x, y, turned."""
    turn = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    landmarks = ((TEMPLATE - 256) @ matrix.T + (x, y)).astype(np.float32)
    blank = np.zeros((SIZE, SIZE, 3), np.uint8)
    face = Face((x - 100 * scale, y - 100 * scale, 200 * scale, 200 * scale), 1.0, landmarks)
    return DetectedPortrait(face, similarity(landmarks), Portrait(blank, TEMPLATE, blank[..., 0]))


def prepared(*portraits: DetectedPortrait, photo: bytes | None = None) -> Prepared:
    return Prepared(portraits, (WIDTH, HEIGHT), {}, photo)


def dotted() -> Image:
    """A drawing with a dot of 9 pixels on each landmark."""
    drawing = np.full((SIZE, SIZE), 255, np.uint8)
    for x, y in TEMPLATE.round().astype(int).tolist():
        cv2.circle(drawing, (x, y), 9, 0, -1)
    return drawing


def middles(page: Image) -> np.ndarray:
    """Middles of the connected parts of ink, by x and y."""
    _, _, _, found = cv2.connectedComponentsWithStats((page < 128).astype(np.uint8))
    return found[1:][np.lexsort(found[1:].round().T)]


@pytest.mark.parametrize("side", [None, 600, 2400])
@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 0.0), (0.5, 20.0), (1.7, -8.0)])
def test_what_is_drawn_lies_on_the_face(side: int | None, scale: float, degrees: float) -> None:
    one = portrait(scale, 610, 340, degrees)
    page = placed([dotted()], prepared(one), side)
    factor = 1.0 if side is None else side / WIDTH
    assert page.shape == (round(HEIGHT * factor), round(WIDTH * factor))
    expected = (one.face.landmarks + 0.5) * factor - 0.5
    expected = expected[np.lexsort(expected.round().T)]
    assert np.abs(middles(page) - expected).max() < max(1.0, scale * factor)


def test_a_page_is_white_elsewhere_and_runs_out_at_the_rim() -> None:
    page = placed([np.zeros((SIZE, SIZE), np.uint8)], prepared(portrait(0.5, 300, 300)), None)
    assert (page[:170] == 255).all()
    assert (page[:, 430:] == 255).all()
    assert (page[182:418, 182:418] == 0).all()
    row = page[300, 172:184].astype(int)
    assert row[0] > 200 > row[-1]
    assert (np.diff(row) <= 0).all()


def test_where_portraits_meet_the_nearer_face_is_seen() -> None:
    left, right = portrait(0.8, 400, 350), portrait(0.8, 640, 350)
    black, white = np.zeros((SIZE, SIZE), np.uint8), np.full((SIZE, SIZE), 255, np.uint8)
    for page in (
        placed([black, white], prepared(left, right), None),
        placed([white, black], prepared(right, left), None),
    ):
        assert page[200:500, 250:500].max() < 10
        assert page[200:500, 540:800].min() > 245
        seam = page[350, 505:536].astype(int)
        assert (np.diff(seam) >= 0).all()
        assert 60 < seam[15] < 200


def test_a_face_at_the_rim_and_one_beyond() -> None:
    page = placed([dotted()] * 2, prepared(portrait(1, 0, 0), portrait(1, 5000, 350)), None)
    assert page.shape == (HEIGHT, WIDTH)
    assert (page[:, 400:] == 255).all()
    assert (page[:300, :300] < 128).any()


def test_over_the_photo_ink_is_black_and_the_rest_the_photo() -> None:
    pixels = np.full((HEIGHT, WIDTH, 3), (200, 120, 60), np.uint8)
    photo = simplejpeg.encode_jpeg(pixels, 97, "RGB", "444")
    page = np.full((HEIGHT // 2, WIDTH // 2), 255, np.uint8)
    page[:100] = 0
    seen = over_photo(page, photo)
    assert (seen[:100] == 0).all()
    assert np.abs(seen[100:].astype(int) - (200, 120, 60)).max() <= 3


@pytest.mark.parametrize(
    ("page", "shape"),
    [
        (PageOptions(), (SIZE, SIZE)),
        (PageOptions(size=700), (700, 700)),
        (PageOptions("photo"), (HEIGHT, WIDTH)),
        (PageOptions("photo", size="4in", dpi=150), (350, 600)),
        (PageOptions("photo", "photo"), (HEIGHT, WIDTH, 3)),
    ],
)
def test_pages_are_laid_out_as_asked_for(page: PageOptions, shape: tuple[int, ...]) -> None:
    photo = simplejpeg.encode_jpeg(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 97, "RGB", "444")
    faces = [portrait(0.5, 300, 300), portrait(0.5, 900, 300)]
    pages = render([dotted()] * 2, prepared(*faces, photo=photo), Recipe(FaceOptions("all"), page=page))
    assert len(pages) == (1 if page.place == "photo" else 2)
    assert all(each.shape == shape and each.dtype == np.uint8 for each in pages)


def test_the_transform_leads_to_the_portrait() -> None:
    one = portrait(0.7, 500, 300, 12)
    assert apply(one.transform, one.face.landmarks) == pytest.approx(TEMPLATE, abs=0.01)
