from pathlib import Path

import cv2
import numpy as np
import pytest

from apdraw_cli.conversion.decode import decode, read
from apdraw_cli.faces.align import apply, similarity, warp_photo
from apdraw_cli.faces.segment import PortraitSegmenter
from apdraw_cli.faces.tiny_retinaface import TinyRetinaFace
from engines.portrait import SIZE, TEMPLATE
from train.npr import drawing as npr
from train.npr.face_parsing import FACE, PERSON, find_parts
from train.npr.line_map import BLACK_LINE, NO_LINE, WHITE_LINE, line_map
from train.npr.quality import quality
from train.npr.strokes import PenZone, drop_specks, jaw_line, pen_lines

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
LIGHT, DARK = (225, 180, 160), (95, 65, 50)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    page = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(page, (256, 300), (190, 260), 0, 0, 360, PERSON, -1)
    cv2.ellipse(page, (256, 300), (110, 150), 0, 0, 360, FACE, -1)
    return page


def paint(labels: np.ndarray, skin: tuple[int, int, int] = LIGHT) -> np.ndarray:
    """Dark hair around a face with eyes, brows and a mouth, before a checked background."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    page = np.where(((x // 16 + y // 16) % 2)[..., None] > 0, 30, 220).astype(np.uint8).repeat(3, 2)
    page[labels == PERSON] = (28, 26, 25)
    page[labels == FACE] = skin
    for eye in TEMPLATE[:2]:
        cv2.circle(page, tuple(int(v) for v in eye), 9, (20, 20, 20), -1)
        cv2.ellipse(page, (int(eye[0]), int(eye[1]) - 12), (30, 16), 0, 200, 340, (35, 25, 20), 6)
    cv2.ellipse(page, (256, 355), (48, 20), 0, 10, 170, (60, 20, 20), 5)
    return page


@pytest.fixture(scope="module")
def photo(labels: np.ndarray) -> np.ndarray:
    return paint(labels)


@pytest.fixture(scope="module")
def drawing(photo: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return npr.draw(photo, labels, TEMPLATE).drawing


def widest(ink: np.ndarray) -> float:
    """Width of the widest stroke, in pixels."""
    return 2 * float(cv2.distanceTransform(ink.astype(np.uint8), cv2.DIST_L2, 5).max()) - 1


def cheeks(labels: np.ndarray) -> np.ndarray:
    """Skin of the face away from its rim, the eyes, the nose and the mouth."""
    inner = cv2.erode((labels == FACE).astype(np.uint8), np.ones((17, 17), np.uint8))
    for centre, axes in (((256, 245), (110, 62)), ((256, 318), (42, 30)), ((256, 376), (72, 40))):
        cv2.ellipse(inner, centre, axes, 0, 0, 360, 0, -1)
    return inner > 0


def test_two_tones_and_a_white_background(drawing: np.ndarray, labels: np.ndarray) -> None:
    assert drawing.dtype == np.uint8
    assert ((drawing < 40) | (drawing > 215)).mean() > 0.97
    outside = cv2.dilate((labels > 0).astype(np.uint8), np.ones((9, 9))) == 0
    assert (drawing[outside] == 255).all()


@pytest.mark.parametrize("skin", [LIGHT, DARK])
def test_hair_is_black_skin_white_and_eyes_are_drawn(labels: np.ndarray, skin: tuple[int, int, int]) -> None:
    drawing = npr.draw(paint(labels, skin), labels, TEMPLATE).drawing
    assert drawing[80:120, 230:280].mean() < 60
    assert drawing[170:200, 230:280].mean() > 250
    for x, y in TEMPLATE[:2].astype(int):
        assert drawing[y - 4 : y + 4, x - 4 : x + 4].mean() < 40


@pytest.mark.parametrize("grey", [40, 110, 160, 230])
def test_plain_hair_or_a_veil_is_never_grey(photo: np.ndarray, labels: np.ndarray, grey: int) -> None:
    veiled = np.where((labels == PERSON)[..., None], grey, photo).astype(np.uint8)
    drawing = npr.draw(veiled, labels, TEMPLATE).drawing
    assert ((drawing < 40) | (drawing > 215)).mean() > 0.97


def test_the_same_photo_gives_the_same_drawing(photo: np.ndarray, labels: np.ndarray, drawing: np.ndarray) -> None:
    assert np.array_equal(npr.draw(photo, labels, TEMPLATE).drawing, drawing)


def test_a_shadow_on_a_cheek_leaves_it_white(photo: np.ndarray, labels: np.ndarray) -> None:
    shade = np.interp(np.arange(SIZE), (230, 300), (1.0, 0.22))[None, :, None]
    shaded = np.where((labels == FACE)[..., None], photo * shade, photo).astype(np.uint8)
    ink = npr.draw(shaded, labels, TEMPLATE).drawing < 128
    assert not ink[cheeks(labels)].any()
    bright, dark = (ink[y - 30 : y + 16, x - 34 : x + 34].mean() for x, y in TEMPLATE[:2].astype(int))
    assert 0.5 * bright < dark < 2 * bright


@pytest.mark.parametrize(("neck", "tone"), [((70, 38, 24), 255), ((15, 15, 40), 0)])
def test_a_neck_in_deep_shade_is_white_and_a_dark_collar_black(
    labels: np.ndarray, neck: tuple[int, int, int], tone: int
) -> None:
    page = paint(labels, (180, 111, 79))
    page[labels == PERSON] = (75, 40, 25)  # hair as warm as the neck
    collar = labels == PERSON
    collar[:458] = False
    page[collar] = neck
    assert np.median(npr.draw(page, labels, TEMPLATE).drawing[470:500, 230:280]) == tone


def test_an_eye_in_a_dark_socket_is_no_black_hole(photo: np.ndarray, labels: np.ndarray) -> None:
    sunken = photo.copy()
    shade = np.zeros((SIZE, SIZE), np.float32)
    cv2.ellipse(shade, (201, 245), (48, 26), 0, 0, 360, 0.6, -1)
    sunken = (sunken * (1 - cv2.GaussianBlur(shade, (0, 0), 6))[..., None]).astype(np.uint8)
    cv2.circle(sunken, (201, 247), 9, (10, 10, 10), -1)
    drawing = npr.draw(sunken, labels, TEMPLATE).drawing
    socket = drawing[231:263, 167:235]
    assert 0.08 < (socket < 128).mean() < 0.65
    assert ((socket < 40) | (socket > 215)).mean() > 0.85


def test_the_pen_draws_long_clear_lines_at_its_own_width() -> None:
    strength = np.zeros((200, 200), np.float32)
    for row, columns, peak in ((40, 160, 0.09), (90, 160, 0.03), (140, 20, 0.09)):
        strength[row - 12 : row + 13, 20 : 20 + columns] = peak * np.hanning(25)[:, None]
    along = np.zeros((200, 200, 2), np.float32)
    along[..., 0] = 1
    zone = PenZone(np.ones((200, 200), bool), 0.04, 0.02, 40)
    ink = pen_lines(strength, along, [zone], np.zeros((200, 200), np.float32), (2.6, 4.4))
    assert abs(float(ink[30:50, 60:140].sum(axis=0).mean()) - 4.4) < 1
    assert ink[60:].max() == 0


def test_contours_of_light_clothes_are_drawn(labels: np.ndarray, photo: np.ndarray) -> None:
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    body = (y > 420) | (labels > 0)
    dressed = np.where(((y > 420) & (labels != FACE) & body)[..., None], (200, 200, 210), photo).astype(np.uint8)
    dressed[(y > 420) & (np.abs(x - 60) < 2)] = (120, 120, 130)
    worn = np.where(body & (labels == 0), PERSON, labels).astype(np.uint8)
    ink = npr.draw(dressed, worn, TEMPLATE).drawing < 128
    assert ink[450:505, 50:70].any(axis=1).mean() > 0.8
    assert ink[450:505, 10:50].mean() < 0.05


def test_a_cast_shadow_is_at_most_a_contour(photo: np.ndarray, labels: np.ndarray) -> None:
    shade = np.where(np.arange(SIZE) > 320, 0.5, 1.0)[None, :, None]
    shaded = np.where((labels == FACE)[..., None], photo * shade, photo).astype(np.uint8)
    ink = (npr.draw(shaded, labels, TEMPLATE).drawing < 128) & cheeks(labels)
    assert widest(ink) < 4


@pytest.mark.parametrize(("width", "blur"), [(2, 0.8), (3, 1.2), (6, 2.0)])
def test_lines_on_skin_are_thin_however_blurred_the_photo(
    photo: np.ndarray, labels: np.ndarray, width: int, blur: float
) -> None:
    wrinkled = photo.copy()
    for x in (180, 320):
        cv2.line(wrinkled, (x, 315), (x + 8, 375), (135, 100, 88), width, cv2.LINE_AA)
    wrinkled = cv2.GaussianBlur(wrinkled, (0, 0), blur)
    ink = (npr.draw(wrinkled, labels, TEMPLATE).drawing < 128) & cheeks(labels)
    for side in (slice(0, 256), slice(256, SIZE)):
        assert ink[325:365, side].any(axis=1).mean() > 0.8
    assert widest(ink) <= 3.2


def test_nothing_but_contours_is_drawn_of_a_flat_photo(labels: np.ndarray) -> None:
    drawing = npr.draw(np.full((SIZE, SIZE, 3), 180, np.uint8), labels, TEMPLATE).drawing
    inner = cv2.erode((labels == FACE).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert (drawing[inner] == 255).all()
    assert (drawing < 128).mean() < 0.02


def test_a_speckled_face_stays_clean(photo: np.ndarray, labels: np.ndarray) -> None:
    grain = np.random.default_rng(0).normal(0, 6, photo.shape)
    noisy = np.clip(photo + grain, 0, 255).astype(np.uint8)
    ink = npr.draw(noisy, labels, TEMPLATE).drawing < 128
    assert ink[cheeks(labels)].mean() < 0.002


def test_the_jaw_is_one_line_from_cheek_to_cheek(labels: np.ndarray) -> None:
    line = cv2.resize(jaw_line(labels, TEMPLATE, 3.2), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    assert line[445:455, 250:262].max() > 0.9
    assert line[: int(TEMPLATE[2][1]) - 2].max() == 0
    _, components = cv2.connectedComponents((line > 0.2).astype(np.uint8))
    rows = np.nonzero(components[360])[0]
    assert rows.min() < 160 < 352 < rows.max()
    assert len(np.unique(components[360][rows])) == 1


def test_thin_frames_of_glasses_stay_whole(photo: np.ndarray, labels: np.ndarray) -> None:
    worn = photo.copy()
    for x, y in TEMPLATE[:2].astype(int):
        cv2.ellipse(worn, (int(x), int(y) + 10), (44, 34), 0, 0, 360, (110, 90, 80), 2, cv2.LINE_AA)
    ink = npr.draw(worn, labels, TEMPLATE).drawing < 128
    for x, y in TEMPLATE[:2].astype(int):
        angles = np.linspace(0, np.pi, 60)  # the lower half, which no brow helps
        hits = 0
        for angle in angles:
            px, py = round(x + 44 * np.cos(angle)), round(y + 10 + 34 * np.sin(angle))
            hits += bool(ink[py - 3 : py + 4, px - 3 : px + 4].any())
        assert hits / len(angles) > 0.9


def test_light_strands_cross_dark_hair(photo: np.ndarray, labels: np.ndarray) -> None:
    combed = photo.copy()
    for x in range(30, 490, 24):
        cv2.line(combed, (x, 30), (x + 20, 511), (120, 95, 80), 3, cv2.LINE_AA)
    combed = cv2.GaussianBlur(combed, (0, 0), 1.0)
    combed[labels != PERSON] = photo[labels != PERSON]
    drawn = npr.draw(combed, labels, TEMPLATE)
    row = drawn.drawing[95, 150:370]
    assert 5 <= int((np.diff((row > 128).astype(int)) == 1).sum()) <= 12
    assert 0.5 < (row < 128).mean() < 0.95
    assert (drawn.lines[80:110, 150:370] == WHITE_LINE).any(axis=1).mean() > 0.9


def test_line_map_runs_in_the_middle_of_strokes_and_not_in_areas() -> None:
    drawing = np.full((200, 200), 255, np.uint8)
    drawing[20:23, 20:180] = 0
    drawing[60:180, 20:180] = 0
    drawing[118:121, 40:160] = 255
    lines = line_map(drawing, width=7, length=6)
    assert set(np.unique(lines)) == {BLACK_LINE, NO_LINE, WHITE_LINE}
    assert (lines[21, 30:170] == BLACK_LINE).all()
    assert (lines[119, 50:150] == WHITE_LINE).all()
    for row, value in ((21, BLACK_LINE), (119, WHITE_LINE)):
        assert (lines[row - 5 : row + 6, 60:140] == value).sum(axis=0).max() <= 3
    assert (lines[66:112, 26:174] == NO_LINE).all()
    assert (lines[30:55] == NO_LINE).all()


def test_specks_go_and_lines_stay() -> None:
    ink = np.zeros((50, 50), np.float32)
    ink[5:7, 5:7] = 1
    ink[20, 10:40] = 1
    kept = drop_specks(ink, 9)
    assert kept[5:7, 5:7].sum() == 0
    assert kept[20].sum() == 30


def test_quality_tells_good_drawings_from_bad_ones(drawing: np.ndarray, labels: np.ndarray) -> None:
    good = quality(drawing, labels, TEMPLATE)
    assert good > 0.9
    blind = drawing.copy()
    blind[225:270, 165:240] = 255
    dirty = drawing.copy()
    dirty[labels == 0] = 0
    speckled = drawing.copy()
    speckled[170:430:6, 190:330:6] = 0
    for bad in (np.full_like(drawing, 255), np.zeros_like(drawing), blind, dirty, speckled):
        assert quality(bad, labels, TEMPLATE) < 0.1
    assert quality(drawing, np.zeros_like(labels), TEMPLATE) == 0


def test_without_a_face_in_the_labels_it_still_draws() -> None:
    labels = np.ones((SIZE, SIZE), np.uint8)
    assert npr.draw(np.full((SIZE, SIZE, 3), 200, np.uint8), labels, TEMPLATE).drawing.shape == (SIZE, SIZE)


def test_parts_of_a_portrait(photo: np.ndarray, labels: np.ndarray) -> None:
    parts = find_parts(photo, labels, TEMPLATE)
    assert parts.skin[200, 256] > 0.95
    assert parts.hair[90, 256] > 0.95
    assert parts.beard.max() < 0.2
    total = parts.skin + parts.hair + parts.clothes
    assert np.abs(total - parts.person)[cv2.erode(labels, np.ones((9, 9), np.uint8)) > 0].max() < 0.3
    bearded = photo.copy()
    cv2.ellipse(bearded, (256, 400), (80, 45), 0, 0, 360, (60, 45, 40), -1)
    bearded[labels != FACE] = photo[labels != FACE]
    assert find_parts(bearded, labels, TEMPLATE).beard[425, 215] > 0.5


@pytest.mark.parametrize("name", ["astronaut.png", "grace_hopper.jpg"])
def test_samples_are_drawn_well(name: str) -> None:
    photo = decode(read(SAMPLES / name))
    landmarks = TinyRetinaFace().detect(photo)[0].landmarks
    transform = similarity(landmarks)
    aligned = warp_photo(photo, transform, replicate=True)
    points = np.rint(apply(transform, landmarks)).astype(np.float32)
    labels = PortraitSegmenter().labels(aligned)
    drawing, lines = npr.draw(aligned, labels, points)
    assert ((drawing < 40) | (drawing > 215)).mean() > 0.93
    assert drawing[labels == 0].mean() > 250
    assert quality(drawing, labels, points) > 0.8
    for value in (BLACK_LINE, WHITE_LINE):
        assert 0.002 < (lines == value).mean() < 0.1
    inner = cheeks(labels) & (labels == FACE)
    assert (drawing[inner] < 128).mean() < 0.1
