"""Regions, hair, beards, cloth, wrinkles and the outline on a head drawn for the test."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engines.portrait import Image
from train.artist.beard import Beard, draw_beard, find_beard
from train.artist.canvas import SIDE, Canvas
from train.artist.cloth import draw_cloth
from train.artist.contours import draw_skin_lines
from train.artist.hair import draw_hair, find_hair
from train.artist.regions import Regions, find_regions
from train.artist.silhouette import draw_silhouette, page
from train.artist.sitter import Cover, Sitter, framed, seat

Head = Callable[..., tuple[Sitter, Regions]]
Portrait = tuple[Image, npt.NDArray[np.float64], npt.NDArray[np.float32], Image]
SHINING = "0095"
"""A face that nobody has (faker-js, CC0), the sky on its dark forehead."""


@pytest.fixture(scope="module")
def haired(head: Head) -> tuple[Sitter, Regions]:
    return head()


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


def test_a_bald_head_has_no_hair(head: Head) -> None:
    assert find_hair(*head(hair=False)) is None


def test_light_from_the_sky_on_a_dark_forehead_is_no_hair(synthetic: Callable[[str], Portrait]) -> None:
    sitter = seat(*synthetic(SHINING))
    regions = find_regions(sitter)
    columns, rows = np.rint(sitter.at((10, 338, 297))).astype(int).T  # below the hairline
    assert regions.skin[rows, columns].min() > 0.8
    assert regions.hair[rows[0] - 140, columns[0]] > 0.8


def test_only_a_bearded_face_has_a_beard(haired: tuple[Sitter, Regions], head: Head) -> None:
    assert find_beard(*haired) is None
    beard = find_beard(*head(beard=True))
    assert beard is not None
    assert beard.darkness > 0.5
    assert beard.mask[780, 512] > 0.8
    assert beard.mask[520, 512] < 0.1


@pytest.mark.parametrize(("right", "black"), [(0.9, True), (0.5, False)])
def test_a_beard_is_black_only_where_both_halves_are_dark(
    haired: tuple[Sitter, Regions], right: float, black: bool
) -> None:
    mask, tone = np.zeros((SIDE, SIDE), np.float32), np.full((SIDE, SIDE), 0.9, np.float32)
    cv2.ellipse(mask, (512, 760), (170, 110), 0, 0, 360, 1, -1)
    tone[:, 512:] = right
    canvas = Canvas()
    draw_beard(haired[0], Beard(mask, tone, 0.6, (0.9, 0.9)), canvas)
    ink = canvas.drawing()[330:430] < 128
    assert min(ink[:, 180:250].mean(), ink[:, 262:332].mean()) > 0.7 if black else ink.mean() < 0.1


def test_a_shadow_under_the_nose_is_no_beard(haired: tuple[Sitter, Regions]) -> None:
    sitter, regions = haired
    shadow = cv2.ellipse(np.zeros((SIDE, SIDE), np.float32), (512, 670), (40, 14), 0, 0, 360, 1, -1)
    darkened = replace(sitter, light=(sitter.light * (1 - 0.6 * cv2.GaussianBlur(shadow, (0, 0), 3))))
    assert find_beard(darkened, regions) is None


@pytest.mark.parametrize(("colour", "black"), [((60, 80, 150), False), ((22, 22, 26), True)])
def test_plain_cloth_is_even(head: Head, colour: tuple[int, int, int], black: bool) -> None:
    canvas = Canvas()
    draw_cloth(*head(cloth=colour), canvas)
    chest = canvas.drawing()[470:505, 150:360]
    assert (chest < 128).mean() > 0.95 if black else (chest < 128).mean() < 0.03


@pytest.mark.parametrize(("light", "has_band"), [(0.1, True), (0.65, False)])
def test_headwear_has_a_band_only_where_tones_lie_far_apart(
    haired: tuple[Sitter, Regions], light: float, has_band: bool
) -> None:
    sitter, regions = haired
    tones = np.full((SIDE, SIDE), 0.85, np.float32)
    tones[260:310] = light
    hat = ((regions.hair > 0.5) & (np.arange(SIDE)[:, None] < 380)).astype(np.float32)
    worn = Regions(regions.skin, np.zeros_like(hat), hat, bald=False, headwear=True)
    canvas = Canvas()
    draw_cloth(replace(sitter, light=tones), worn, canvas)
    drawing = canvas.drawing()
    assert (drawing[135:150, 200:312] < 128).mean() > 0.9 if has_band else (drawing[:200] < 128).mean() < 0.05
    assert (drawing[100:125, 200:312] < 128).mean() < 0.05


def test_a_wrinkled_face_has_few_wrinkles(haired: tuple[Sitter, Regions]) -> None:
    sitter, _ = haired
    lines = np.zeros((SIDE, SIDE), np.float32)
    for y in range(340, 900, 14):
        cv2.line(lines, (360, y), (664, y), 0.6, 3)
    nothing = np.zeros((SIDE, SIDE), np.float32)
    canvas = Canvas()
    cover = Cover(skin=sitter.oval.astype(np.float32), hair=nothing, beard=nothing, hair_light=1.0)
    draw_skin_lines(replace(sitter, darkness=cv2.GaussianBlur(lines, (0, 0), 1.5)), cover, canvas)
    widest = 1.45 * 4
    assert 0 < (canvas.ink > 0).sum() < 5 * 2 * sitter.eye_distance * widest


def round_avatar() -> Image:
    photo = np.full((200, 200, 3), 250, np.uint8)
    cv2.circle(photo, (100, 100), 99, (90, 120, 60), -1)
    return photo


def test_a_round_avatar_is_shown_within_its_disc() -> None:
    shown = framed(round_avatar())
    assert shown[100, 3]
    assert shown[100, 100]
    assert not shown[10, 10]
    assert shown.mean() == pytest.approx(np.pi / 4, abs=0.04)


def test_a_photo_without_a_frame_is_shown_whole() -> None:
    noisy = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    assert framed(noisy).all()
    assert framed(np.full((200, 200, 3), 250, np.uint8)).all()
    assert framed(cv2.resize(round_avatar(), (300, 200))).all()


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
