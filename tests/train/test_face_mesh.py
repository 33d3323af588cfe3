import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch

from apdraw_cli.faces.align import apply, similarity
from apdraw_cli.faces.mesh import WEIGHTS, FaceMesher
from engines.errors import DatasetError
from engines.portrait import SIZE
from train.artist.mesh import BROW_TOPS, IRIS_RIMS, LIP_TOP, LOWER_LIDS, NOSE_WINGS, NOSTRILS, UPPER_LIDS
from train.face_mesh.network import (
    DETAILS,
    FACE_MIDDLE,
    FaceMesh,
    FaceMeshGraph,
    PlaceNetwork,
    shape_basis,
    window_middles,
    window_of,
)
from train.face_mesh.training import Data, build, evaluate, export, load, predict, spread_points, train
from train.face_mesh.variation import mirror_permutation, moved, photographed, without_face

SAMPLES = Path(__file__).resolve().parents[2] / "train" / "samples"

Meshes = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def portrait() -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(SAMPLES / "astronaut.jpg"), cv2.IMREAD_COLOR_RGB), np.uint8)


@pytest.fixture(scope="module")
def meshes() -> Meshes:
    """The mean mesh that the shipped network has in it, each point a little elsewhere."""
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(WEIGHTS).graph.initializer}
    mean = constants["mesh.face.mean"].reshape(478, 2) + FACE_MIDDLE.numpy()
    return (mean + np.random.default_rng(0).normal(0, 0.5, (12, 478, 2))).astype(np.float32)


@pytest.fixture(scope="module")
def network(meshes: Meshes) -> FaceMesh:
    torch.manual_seed(0)
    return build(meshes).eval()


def check_partners(partner: npt.NDArray[np.intp]) -> None:
    assert np.array_equal(partner[partner], np.arange(478))
    assert np.flatnonzero(partner == np.arange(478)).tolist() == [
        *(0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19),
        *(94, 151, 152, 164, 168, 175, 195, 197, 199, 200),
    ]
    for left, right in (UPPER_LIDS, LOWER_LIDS, BROW_TOPS, NOSE_WINGS):
        assert partner[list(left)].tolist() == list(right)
    assert partner[list(LIP_TOP)].tolist() == list(LIP_TOP)[::-1]
    right, top, left, bottom = IRIS_RIMS[1]
    assert partner[list(IRIS_RIMS[0])].tolist() == [left, top, right, bottom]


def test_partners_across_the_face(meshes: Meshes) -> None:
    check_partners(mirror_permutation(meshes.mean(axis=0)))


def test_partners_in_reference_meshes(shared: Path) -> None:
    with np.load(shared / "portraits" / "mesh478.npz") as file:
        points, valid = file["points"], file["valid"]
    template = points[valid][0, :, :2]
    template = apply(similarity(template[[468, 473]], np.array([[200, 250], [312, 250]], np.float32)), template)
    aligned = [apply(similarity(mesh, template), mesh) for mesh in points[valid][..., :2]]
    check_partners(mirror_permutation(np.mean(aligned, axis=0)))


def test_basis_holds_its_shapes_and_has_weights_of_variance_one() -> None:
    rng = np.random.default_rng(1)
    shapes = (rng.normal(0, 5, (200, 3)) @ rng.normal(0, 1, (3, 20)) + 7).reshape(200, 10, 2).astype(np.float32)
    mean, components = shape_basis(shapes, 3)
    weights = (shapes.reshape(200, 20) - mean) @ np.linalg.pinv(components)
    np.testing.assert_allclose(weights.std(axis=0), 1, atol=0.02)
    np.testing.assert_allclose(mean + weights @ components, shapes.reshape(200, 20), atol=1e-3)


def test_followed_points_are_spread() -> None:
    grid = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0)), axis=2).reshape(-1, 2)
    chosen = grid[spread_points(grid, 9)]
    apart = np.linalg.norm(chosen[:, None] - chosen[None], axis=2) + 99 * np.eye(9)
    assert apart.min() >= 3


def test_places_are_learnt() -> None:
    """Two bright spots at any place are found to a fraction of a cell."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    shapes = rng.uniform(-10, 10, (400, 2, 2)).astype(np.float32)
    places = PlaceNetwork((8, 8, 8), (32, 32), 1, shapes, (0, 1), 4, noise=0.5)
    optimiser = torch.optim.AdamW(places.parameters(), lr=1e-2)
    y, x = np.mgrid[0:32, 0:32] - 15.5

    def picture(shape: Meshes) -> Meshes:
        spots = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 6) for a, b in shape]
        return np.asarray(4 * np.stack([spots[0], spots[1], 0 * x]), np.float32)

    for _ in range(120):
        truth = shapes[rng.integers(0, 400, 16)]
        found = places(torch.from_numpy(np.stack([picture(shape) for shape in truth])))
        wanted = torch.from_numpy(truth)
        loss = places.map_loss(found.maps, wanted) + (found.points - wanted).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    places.eval()
    truth = rng.uniform(-9, 9, (20, 2, 2)).astype(np.float32)
    with torch.inference_mode():
        points = places(torch.from_numpy(np.stack([picture(shape) for shape in truth]))).points.numpy()
    assert np.linalg.norm(points - truth, axis=2).mean() < 1  # a cell is 4


def test_windows_are_cut_where_they_are_said_to_be() -> None:
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    photo = torch.from_numpy(np.stack([x % 256, y % 256, (x // 256 + 2 * (y // 256))], axis=2).astype(np.uint8))[None]
    seen = window_of(photo, torch.tensor([[100.5, 200.5]]), 96, 80)[0]
    assert seen.shape == (3, 80, 96)
    assert (float(seen[0].mean()), float(seen[1].mean())) == (100.5, 200.5)
    rim = window_of(photo, torch.tensor([[10.5, 505.5]]), 96, 80)[0]
    assert (rim[0, :, :37] == 0).all()  # x of the first column
    assert (rim[1, -33:] == 511 - 256).all()


def test_an_eye_is_found_in_the_mirror_where_the_other_is(network: FaceMesh, portrait: npt.NDArray[np.uint8]) -> None:
    one = torch.from_numpy(portrait.copy())[None]
    mirrored = one.flip(2)
    with torch.inference_mode():
        left = network.second_look(one, torch.tensor([[200.5, 250.5]]), 0)
        right = network.second_look(mirrored, torch.tensor([[SIZE - 1 - 200.5, 250.5]]), 1)
    torch.testing.assert_close(left.points, right.points)
    assert DETAILS[1].mirrored


def test_details_hold_what_they_are_about(network: FaceMesh, meshes: Meshes) -> None:
    left, right, nose, mouth = (set(members) for members in network.members)
    assert {*UPPER_LIDS[0], *LOWER_LIDS[0], *BROW_TOPS[0][1:], *IRIS_RIMS[0]} <= left
    assert {*UPPER_LIDS[1], *LOWER_LIDS[1], *BROW_TOPS[1][1:], *IRIS_RIMS[1]} <= right
    assert {*NOSTRILS[0][1:], *NOSTRILS[1][1:]} <= nose
    assert set(LIP_TOP) <= mouth
    middles = window_middles(torch.from_numpy(meshes))
    assert (middles % 1 == 0.5).all()


def test_portraits_and_meshes_move_together(meshes: Meshes) -> None:
    rng = np.random.default_rng(3)
    partner = mirror_permutation(meshes.mean(axis=0))
    for _ in range(8):
        photo = np.full((SIZE, SIZE, 3), 255, np.uint8)
        for x, y in meshes[0][[33, 291, 4]]:
            cv2.circle(photo, (round(x * 16), round(y * 16)), 4 * 16, (0, 0, 0), -1, cv2.LINE_AA, 4)
        turned, mesh = moved(photo, meshes[0], partner, rng)
        dark = (255 - turned[..., 0].astype(np.float32)) * (turned[..., 0] < 128)
        assert mesh[33, 0] < mesh[263, 0]  # a mirrored face has its left eye on the left too
        found = []
        for x, y in mesh[[33, 263, 61, 291, 4]]:
            left, top = int(x) - 9, int(y) - 9
            spot = dark[top : top + 19, left : left + 19]
            if spot.sum() > 0:
                rows, columns = np.mgrid[0:19, 0:19]
                middle = [float((spot * at).sum() / spot.sum()) for at in (columns, rows)]
                found.append(np.hypot(middle[0] + left - x, middle[1] + top - y))
        assert len(found) == 3
        assert max(found) < 1


def test_alterations_leave_pictures(portrait: npt.NDArray[np.uint8], meshes: Meshes) -> None:
    rng = np.random.default_rng(4)
    altered = [photographed(portrait.copy(), [portrait], meshes[0], rng) for _ in range(24)]
    altered += [without_face(portrait.copy(), rng) for _ in range(24)]
    assert all(picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8 for picture in altered)
    assert len({picture.tobytes() for picture in altered}) == 48


def test_training_repeats_itself(
    portrait: npt.NDArray[np.uint8], meshes: Meshes, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Data([portrait] * 2, meshes[:2])
    trained = train(data, steps=2, batch_size=2, seed=0, log_every=2)
    line = json.loads(capsys.readouterr().out)
    assert (line["step"], np.isfinite(line["face"])) == (2, True)
    again = train(data, steps=2, batch_size=2, seed=0)
    assert np.array_equal(predict(trained, portrait)[0], predict(again, portrait)[0])
    errors = evaluate(trained, data)
    assert set(errors) == {"portraits", "all", "irises", "lids", "brows", "nose", "lips", "oval"}
    assert errors["all"]["mean"] <= errors["all"]["worst"]


def test_the_exported_graph_finds_the_same(
    portrait: npt.NDArray[np.uint8], meshes: Meshes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("network", "training"):
        monkeypatch.setattr(f"train.face_mesh.{module}.DETAILS", DETAILS[:2])  # all four take longer
    network = build(meshes).eval()
    points, plausibility = predict(network, portrait)
    export(network, tmp_path / "mesh.onnx", {"license": "CC0-1.0"})
    session = onnxruntime.InferenceSession(tmp_path / "mesh.onnx")
    assert session.get_modelmeta().custom_metadata_map == {"license": "CC0-1.0"}
    found, likely = session.run(None, {"photo": np.stack([portrait] * 3)})
    np.testing.assert_allclose(found[2], points, atol=1e-2)
    assert likely == pytest.approx([plausibility] * 3, abs=1e-3)
    assert FaceMesher(tmp_path / "mesh.onnx").find(portrait).points == pytest.approx(points, abs=1e-2)


def test_a_data_set_without_meshes_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no prepared data set"):
        load(tmp_path, "train")
    (tmp_path / "index.jsonl").write_text('{"name": "a", "split": "train", "left_out": null}\n')
    with pytest.raises(DatasetError, match="--meshes"):
        load(tmp_path, "train")


def test_graph_gives_float32(network: FaceMesh, portrait: npt.NDArray[np.uint8]) -> None:
    with torch.inference_mode():
        points, plausibility = FaceMeshGraph(network)(torch.from_numpy(portrait.copy())[None])
    assert (points.shape, points.dtype, plausibility.shape) == ((1, 478, 2), torch.float32, (1,))
