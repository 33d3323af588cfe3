"""Regions, hair, beards, cloth and the outline on a head drawn for the test."""

import cv2
import numpy as np
import pytest

from engines.portrait import Image
from train.artist import mesh
from train.artist.beard import find_beard
from train.artist.canvas import SIDE, Canvas
from train.artist.cloth import draw_cloth
from train.artist.hair import draw_hair, find_hair
from train.artist.regions import Regions, find_regions
from train.artist.silhouette import draw_silhouette, page
from train.artist.sitter import Sitter, seat

SKIN, HAIR, CLOTH, WALL = (205, 160, 135), (48, 34, 28), (60, 80, 150), (190, 200, 205)
EYES, CENTRE, AXES = 240, (256, 290), (95, 130)


def _mesh() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A face mesh of which only what the tests need is in place: oval, eyes, brows, nose and mouth."""
    points = np.tile(np.array([256.0, 300.0]), (mesh.POINTS, 1))
    turn = np.linspace(-np.pi / 2, 1.5 * np.pi, len(mesh.OVAL), endpoint=False)
    points[list(mesh.OVAL)] = np.stack([256 + 95 * np.cos(turn), 290 + 130 * np.sin(turn)], axis=1)

    def line(group: tuple[int, ...], start: tuple[float, float], end: tuple[float, float]) -> None:
        points[list(group)] = np.linspace(start, end, len(group))

    for side, (outer, inner) in enumerate(((175, 230), (337, 282))):
        line(mesh.UPPER_LIDS[side], (outer + 8, 237), (inner - 8, 237))
        line(mesh.LOWER_LIDS[side], (outer + 8, 245), (inner - 8, 245))
        for group, height in ((mesh.CREASES, 230), (mesh.SOCKETS, 226), (mesh.EYE_BAGS, 254)):
            line(group[side], (outer, height), (inner, height))
        line(mesh.BROW_TOPS[side], (outer, 212), (inner, 212))
        line(mesh.BROW_BOTTOMS[side], (outer, 220), (inner, 220))
        points[mesh.IRIS_CENTRES[side]] = ((outer + inner) / 2, 241)
    for group, height in ((mesh.LIP_TOP, 348), (mesh.LIP_BOTTOM, 364), (mesh.MOUTH_TOP, 355), (mesh.MOUTH_BOTTOM, 357)):
        line(group, (220, 356), (292, 356))
        points[list(group[1:-1]), 1] = height
    nose = np.linspace(0, 2 * np.pi, len(mesh.NOSE), endpoint=False)
    points[list(mesh.NOSE)] = np.stack([256 + 22 * np.cos(nose), 305 + 14 * np.sin(nose)], axis=1)
    points[[mesh.NOSE_BASE, mesh.NOSE_TIP]] = ((256, 322), (256, 308))
    return points


def _sitter(*, hair: bool = True, beard: bool = False, cloth: tuple[int, int, int] = CLOTH) -> Sitter:
    """A frontal head with strands in its hair, on a plain wall; lightly grained as photos are."""
    grain = np.random.default_rng(0).normal(0, 2.5, (512, 512, 1))
    photo, labels = np.full((512, 512, 3), WALL, np.uint8), np.zeros((512, 512), np.uint8)
    strands = np.zeros((512, 512), np.float32)
    if hair:
        cv2.ellipse(photo, (256, 240), (130, 150), 0, 0, 360, HAIR, -1)
        cv2.ellipse(labels, (256, 240), (130, 150), 0, 0, 360, 1, -1)
        for x in range(100, 420, 9):
            cv2.line(strands, (256 + (x - 256) // 2, 90), (x, 330), 45, 2)
    else:
        cv2.ellipse(photo, (256, 255), (103, 150), 0, 0, 360, SKIN, -1)
        cv2.ellipse(labels, (256, 255), (103, 150), 0, 0, 360, 1, -1)
    shown = cv2.GaussianBlur(strands, (0, 0), 0.8) * (np.abs(photo.astype(int) - HAIR).max(axis=-1) == 0)
    cv2.rectangle(photo, (205, 380), (307, 450), SKIN, -1)
    cv2.ellipse(photo, (256, 560), (220, 130), 0, 0, 360, cloth, -1)
    cv2.ellipse(photo, CENTRE, AXES, 0, 0, 360, SKIN, -1)
    shown[cv2.ellipse(np.zeros((512, 512), np.uint8), CENTRE, AXES, 0, 0, 360, 1, -1) > 0] = 0
    cv2.rectangle(labels, (205, 380), (307, 450), 1, -1)
    cv2.ellipse(labels, (256, 560), (220, 130), 0, 0, 360, 1, -1)
    cv2.ellipse(labels, CENTRE, AXES, 0, 0, 360, 2, -1)
    picture = photo + shown[..., None] + grain
    if beard:
        area = cv2.ellipse(np.zeros((512, 512), np.uint8), CENTRE, (92, 127), 0, 15, 165, 1, -1)
        area[:325] = 0
        hairs = np.random.default_rng(1).normal(0, 28, (512, 512))
        picture = np.where(
            area[..., None] > 0, (np.array(HAIR) + 15) + cv2.GaussianBlur(hairs, (0, 0), 1)[..., None], picture
        )
    for side in (200, 311):
        cv2.circle(picture, (side, 241), 7, (30, 25, 25), -1)
    cv2.ellipse(picture, (256, 356), (36, 8), 0, 0, 360, (170, 90, 90), -1)
    return seat(np.clip(picture, 0, 255).astype(np.uint8), np.eye(2, 3), _mesh(), labels)


@pytest.fixture(scope="module")
def haired() -> tuple[Sitter, Regions]:
    sitter = _sitter()
    return sitter, find_regions(sitter)


def _hair_drawing(sitter: Sitter, regions: Regions) -> Image:
    canvas = Canvas()
    hair = find_hair(sitter, regions)
    assert hair is not None
    draw_hair(hair, canvas)
    return canvas.drawing()


def test_regions_are_told_apart_by_colour_and_place(haired: tuple[Sitter, Regions]) -> None:
    regions = haired[1]
    assert regions.hair[200, 512] > 0.8
    assert regions.skin[600, 512] > 0.8
    assert regions.cloth[980, 512] > 0.8
    assert regions.skin[820, 512] > 0.8  # the neck
    assert not regions.bald
    assert not regions.headwear
    total = regions.skin + regions.hair + regions.cloth
    assert np.allclose(total[haired[0].person], 1, atol=1e-3)
    assert not total[~haired[0].person].any()


def test_dark_hair_is_black_with_white_strands(haired: tuple[Sitter, Regions]) -> None:
    drawing = _hair_drawing(*haired)
    crown = drawing[105:150, 190:320]
    assert (crown < 64).mean() > 0.5
    assert (crown > 192).mean() > 0.01
    assert (drawing[220:380, 190:320] == 255).all()  # the face


def test_the_same_photo_gives_the_same_drawing(haired: tuple[Sitter, Regions]) -> None:
    assert np.array_equal(_hair_drawing(*haired), _hair_drawing(haired[0], find_regions(haired[0])))


def test_a_bald_head_has_no_hair() -> None:
    sitter = _sitter(hair=False)
    assert find_hair(sitter, find_regions(sitter)) is None


def test_only_a_bearded_face_has_a_beard(haired: tuple[Sitter, Regions]) -> None:
    assert find_beard(*haired) is None
    bearded = _sitter(beard=True)
    beard = find_beard(bearded, find_regions(bearded))
    assert beard is not None
    assert beard.darkness > 0.5
    assert beard.mask[780, 512] > 0.8
    assert beard.mask[520, 512] < 0.1


@pytest.mark.parametrize(("colour", "black"), [((60, 80, 150), False), ((22, 22, 26), True)])
def test_plain_cloth_is_even(colour: tuple[int, int, int], black: bool) -> None:
    sitter = _sitter(cloth=colour)
    canvas = Canvas()
    draw_cloth(sitter, find_regions(sitter), canvas)
    chest = canvas.drawing()[470:505, 150:360]
    assert (chest < 128).mean() > 0.95 if black else (chest < 128).mean() < 0.03


def test_the_outline_runs_out_at_the_page_and_keeps_off_ink(haired: tuple[Sitter, Regions]) -> None:
    canvas = Canvas()
    draw_silhouette(*haired, canvas)
    drawing = canvas.drawing()
    assert (drawing < 128).sum() > 300
    assert (drawing[-3:] == 255).all()
    assert (drawing[:, :3] == 255).all()
    full = Canvas()
    full.ink[:] = 255
    draw_silhouette(*haired, full)
    assert full.near(0).all()


def test_the_page_ends_beside_the_person(haired: tuple[Sitter, Regions]) -> None:
    shown = page(haired[0])
    assert shown.shape == (SIDE, SIDE)
    assert shown[haired[0].person].all()
    assert not shown[10, 10]
