"""The segmenter: its shapes, what it learns, what is measured, and the file that the command writes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines.errors import DatasetError
from engines.portrait import SIZE
from train import segmenter
from train.segmenter import SEEN_SIZE, SegmenterGraph, SegmenterNetwork, evaluate, export, load, person_iou

LEFT_OUT = {"4": "round frame", "5": "no face"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six dark people before light backgrounds; the first three are there to learn from, the fourth to measure on."""
    folder = tmp_path_factory.mktemp("dataset")
    for part in ("photos", "labels"):
        (folder / part).mkdir()
    rng = np.random.default_rng(0)
    entries = []
    for index in range(6):
        name = str(index)
        label = np.zeros((SIZE, SIZE), np.uint8)
        cv2.ellipse(label, (256 + 20 * (index % 3) - 20, 512), (170 + 10 * index, 380), 0, 0, 360, 1, -1)
        cv2.ellipse(label, (256, 280), (70, 90), 0, 0, 360, 2, -1)
        photo = np.where(label[..., None] > 0, 60, 200) + rng.normal(0, 8, (SIZE, SIZE, 3))
        cv2.imwrite(str(folder / "photos" / f"{name}.png"), photo.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / "labels" / f"{name}.png"), label)
        split = "train" if index in (0, 1, 2, 4) else "val"
        entries.append({"name": name, "split": split, "left_out": LEFT_OUT.get(name)})
    (folder / "index.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return folder


class ByDarkness(nn.Module):
    """A segmenter that takes what is dark for the person."""

    def forward(self, photo: Tensor) -> Tensor:
        dark = -nn.functional.avg_pool2d(photo.mean(1, keepdim=True), 2) * 20
        return torch.cat((-dark, dark, torch.full_like(dark, -50)), dim=1)


def test_the_graph_gives_probabilities_at_a_quarter_of_the_portrait() -> None:
    torch.manual_seed(0)
    photo = torch.randint(0, 256, (2, SEEN_SIZE, SEEN_SIZE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        probabilities = SegmenterGraph(SegmenterNetwork()).eval()(photo)
    assert probabilities.shape == (2, SIZE // 4, SIZE // 4, 3)
    torch.testing.assert_close(probabilities.sum(dim=3), torch.ones(2, SIZE // 4, SIZE // 4))


def test_portraits_that_were_left_out_are_not_learnt_from(dataset: Path) -> None:
    """In round frames the labels at hand often take the whole disc for the person."""
    photos, labels = load(dataset, "train", SEEN_SIZE)
    assert len(photos) == len(labels) == 3
    assert photos[0].shape == (SEEN_SIZE, SEEN_SIZE, 3)
    assert set(np.unique(labels[0])) == {0, 1, 2}
    assert len(load(dataset, "val", SIZE)[0]) == 1
    with pytest.raises(DatasetError, match="holds no portraits of the split test"):
        load(dataset, "test", SIZE)


def test_it_learns_where_people_are(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learnt = segmenter.train(dataset, steps=12, batch_size=2, seed=0, log_every=1)
    losses = [json.loads(line)["loss"] for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 12
    assert sum(losses[-3:]) / 3 < 0.6 * losses[0]
    assert not learnt.training


def test_the_same_seed_trains_the_same_network(dataset: Path) -> None:
    one, again, other = (segmenter.train(dataset, steps=2, batch_size=1, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_iou_counts_person_and_face_as_one() -> None:
    truth = np.array([[0, 1], [2, 2]], np.uint8)
    assert person_iou(truth, truth) == 1
    assert person_iou(np.array([[0, 2], [1, 1]], np.uint8), truth) == 1
    assert person_iou(np.array([[1, 1], [0, 0]], np.uint8), truth) == pytest.approx(1 / 4)
    assert person_iou(np.zeros_like(truth), np.zeros_like(truth)) == 0


def test_portraits_that_were_put_aside_are_measured_at_full_size(dataset: Path) -> None:
    found = evaluate(ByDarkness(), dataset)  # type: ignore[arg-type]
    assert found["portraits"] == 1
    assert found["worst_iou"] == found["mean_iou"] > 0.98


def test_labels_move_with_the_photo(dataset: Path) -> None:
    photos, labels = load(dataset, "train", SEEN_SIZE)
    photo = np.repeat(np.where(labels[0] > 0, np.uint8(0), np.uint8(255))[..., None], 3, axis=2)
    agreeing = 0
    for seed in range(20):
        varied, moved = segmenter._vary(photo, labels[0], photos[1], np.random.default_rng(seed))
        assert varied.shape == (SEEN_SIZE, SEEN_SIZE, 3)
        assert set(np.unique(moved)) <= {0, 1, 2}
        agreeing += person_iou((varied.mean(axis=2) < 100).astype(np.uint8), moved) > 0.9
    assert agreeing >= 8  # elsewhere another background or a frame is dark


def test_the_written_file_computes_what_torch_does(dataset: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = SegmenterNetwork().eval()
    export(network, tmp_path / "segmenter.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "segmenter.onnx", providers=["CPUExecutionProvider"])
    photos = np.stack(load(dataset, "train", SEEN_SIZE)[0][:3])
    (found,) = session.run(["probabilities"], {"photo": photos})
    with torch.inference_mode():
        wanted = SegmenterGraph(network)(torch.from_numpy(photos)).numpy()
    assert np.abs(found - wanted).max() < 1e-4


def test_the_command_names_what_it_cannot_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["segmenter", str(tmp_path / "nothing"), "--output", str(tmp_path / "x.onnx")])
    with pytest.raises(SystemExit) as ended:
        segmenter.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is no prepared data set" in line
    assert not (tmp_path / "x.onnx").exists()
