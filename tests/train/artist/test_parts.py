"""Parts of a face painted on the mesh of a synthetic portrait."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from train.artist import mesh
from train.artist.canvas import SIDE, Canvas
from train.artist.curves import resample, spline
from train.artist.eyes import draw_eye
from train.artist.mouth import draw_mouth
from train.artist.nose import draw_nose
from train.artist.sitter import Cover, seat
from train.artist.spectacles import draw_spectacles

OPEN_MOUTH = "0061"
"""A face that nobody has (faker-js, CC0), its mouth open."""
SKIN = (205, 165, 145)


@pytest.fixture(scope="module")
def points(shared):
    """The mesh in pixels of the working portrait, eyes level."""
    meshes = np.load(shared / "portraits" / "mesh478.npz")
    found = meshes["points"][list(meshes["names"]).index(f"{OPEN_MOUTH}.jpg")][:, :2].astype(np.float64)
    eyes = found[list(mesh.IRIS_CENTRES)]
    return (found - eyes.mean(axis=0)) * (220 / np.linalg.norm(eyes[1] - eyes[0])) + (512, 480)


def polygon(page, outline, colour):
    cv2.fillPoly(page, [np.rint(outline).astype(np.int32)], colour, cv2.LINE_AA)


@pytest.fixture(scope="module")
def page(points):
    """Skin with white eyes, dark irises and lids, and a red mouth."""
    page = np.full((SIDE, SIDE, 3), (90, 110, 150), np.uint8)
    polygon(page, points[list(mesh.OVAL)], SKIN)
    for side in (0, 1):
        outline = points[list(mesh.UPPER_LIDS[side] + mesh.LOWER_LIDS[side][-2:0:-1])]
        polygon(page, outline, (240, 240, 240))
        radius = int(np.linalg.norm(points[mesh.IRIS_RIMS[side][0]] - points[mesh.IRIS_CENTRES[side]]))
        cv2.circle(page, np.rint(points[mesh.IRIS_CENTRES[side]]).astype(int).tolist(), radius, (60, 40, 30), -1)
        lid = np.rint(spline(points[list(mesh.UPPER_LIDS[side])])).astype(np.int32)
        cv2.polylines(page, [lid], False, (40, 30, 30), 5, cv2.LINE_AA)
    polygon(page, points[list(mesh.LIPS)], (170, 80, 80))
    return page


@pytest.fixture(scope="module")
def seated(points):
    def put(page):
        labels = np.ones((SIDE, SIDE), np.uint8)
        cv2.fillPoly(labels, [np.rint(points[list(mesh.OVAL)]).astype(np.int32)], 2)
        halved = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])
        return seat(cv2.GaussianBlur(page, (0, 0), 1), halved, points, labels)

    return put


@pytest.fixture(scope="module")
def sitter(page, seated):
    return seated(page)


@pytest.fixture(scope="module")
def bare():
    nothing = np.zeros((SIDE, SIDE), np.float32)
    return Cover(nothing + 1, nothing, nothing, 1.0)


def test_the_mesh_stays_where_the_portrait_is(points, sitter):
    assert np.allclose(sitter.mesh, points)


def test_an_open_eye_has_an_iris_with_a_white_highlight(sitter):
    canvas = Canvas()
    eye = draw_eye(sitter, 0, canvas)
    assert eye.is_open
    assert eye.quality > 0.5
    x, y = np.rint(sitter.mesh[mesh.IRIS_CENTRES[0]]).astype(int) * 2
    around = canvas.ink[y - 14 : y + 15, x - 14 : x + 15] > 0
    assert 0.5 < around.mean() < 0.99


def test_an_eye_without_iris_is_unclear(points, page, seated):
    blank = page.copy()
    for side in (0, 1):
        polygon(blank, points[list(mesh.CREASES[side] + mesh.EYE_BAGS[side][::-1])], SKIN)
    assert draw_eye(seated(blank), 0, Canvas()).quality < 0.15


def test_a_closed_eye_is_a_lid(sitter):
    shut = sitter.mesh.copy()
    shut[list(mesh.UPPER_LIDS[0])] = shut[list(mesh.LOWER_LIDS[0])]
    assert not draw_eye(replace(sitter, mesh=shut), 0, Canvas()).is_open


@pytest.mark.parametrize("gaps", [3, 5])
def test_teeth_are_told_apart(points, page, seated, bare, gaps):
    upper, lower = (resample(spline(points[list(group)]), 0.5) for group in (mesh.MOUTH_TOP, mesh.MOUTH_BOTTOM))
    smiling = page.copy()
    polygon(smiling, np.vstack([upper, lower[::-1]]), (235, 230, 220))
    for place in np.linspace(0.28, 0.72, gaps):
        ends = [np.rint(curve[int(place * (len(curve) - 1))]).astype(int).tolist() for curve in (upper, lower)]
        cv2.line(smiling, *ends, (180, 170, 160), 2, cv2.LINE_AA)
    mouth = draw_mouth(seated(smiling), bare, Canvas())
    assert mouth.is_open
    assert mouth.gaps == gaps


def test_the_nose_is_drawn_even_where_the_light_is_soft(sitter):
    canvas = Canvas()
    assert draw_nose(sitter, canvas).quality < 0.3
    assert canvas.ink.any()


def wearing(page, points, thickness):
    """The page with round spectacles, and the lenses' middles; filled if the thickness is -1."""
    worn = page.copy()
    middles = [points[mesh.IRIS_CENTRES[side]] + np.array([8 * sense, 8]) for side, sense in ((0, -1), (1, 1))]
    for middle in middles:
        place = np.rint(middle).astype(int).tolist()
        cv2.ellipse(worn, place, (84, 58), 0, 0, 360, (30, 30, 30), thickness, cv2.LINE_AA)
    ends = [np.rint(middles[side] + np.array([reach, -14])).astype(int).tolist() for side, reach in ((0, 80), (1, -80))]
    cv2.line(worn, *ends, (30, 30, 30), 6, cv2.LINE_AA)
    return worn, middles


def test_a_bare_face_wears_no_spectacles(sitter):
    assert not draw_spectacles(sitter, Canvas()).worn


@pytest.mark.parametrize(("thickness", "shaded"), [(6, False), (-1, True)])
def test_spectacles_are_closed_rims_and_dark_lenses_hide_the_eyes(page, points, seated, thickness, shaded):
    worn, middles = wearing(page, points, thickness)
    found = draw_spectacles(seated(worn), Canvas())
    assert found.worn
    assert found.shaded == shaded
    for rim, middle in zip(found.rims, middles, strict=True):
        off = np.hypot((rim[:, 0] - middle[0]) / 84, (rim[:, 1] - middle[1]) / 58)
        assert np.abs(off - 1).max() < 0.2
        assert np.linalg.norm(rim[0] - rim[-1]) < 3
