import json

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from engines.errors import DatasetError, ModelError
from train.lines import LinePair, LinePairs, line_f1, line_loss, load_detectors, save_detectors, vary
from train.networks.lines import LineDetectors


def test_detectors_give_a_logit_for_each_pixel_of_each_drawing():
    torch.manual_seed(0)
    detectors = LineDetectors(4).eval()
    drawings = torch.rand(3, 1, 40, 64) * 2 - 1
    together = detectors(drawings)
    alone = [detectors(drawing) for drawing in drawings.split(1)]
    for tone, logits in enumerate(together):
        assert logits.shape == drawings.shape
        torch.testing.assert_close(logits, torch.cat([maps[tone] for maps in alone]))
    assert not torch.equal(*together)


def test_detectors_are_small():
    assert sum(weight.numel() for weight in LineDetectors().parameters()) < 200_000


def toy_pairs(count, size=64):
    """White pages with black strokes, and a black area with white strokes; solid areas are no lines."""
    rng = np.random.default_rng(0)
    pages, blacks, whites = [], [], []
    for _ in range(count):
        page, black, white = np.full((size, size), 255, np.uint8), *np.zeros((2, size, size), np.uint8)
        half = size // 2
        page[half:] = 0
        for _ in range(3):
            x0, x1 = (int(x) for x in rng.integers(0, size, 2))
            for plane, top, value in ((page, 0, 0), (black, 0, 1), (page, half, 255), (white, half, 1)):
                cv2.line(plane, (x0, top + 4), (x1, top + half - 5), value, 1)
        pages.append(page), blacks.append(black), whites.append(white)
    planes = (torch.from_numpy(np.stack(some).astype(np.float32))[:, None] for some in (pages, blacks, whites))
    drawing, black, white = planes
    return LinePair(drawing / 127.5 - 1, black, white)


def test_detectors_learn_what_a_line_is():
    torch.manual_seed(0)
    detectors = LineDetectors(8)
    pair = toy_pairs(4)
    optimiser = torch.optim.Adam(detectors.parameters(), 5e-3)
    first = line_loss(detectors(pair.drawing), pair).item()
    for _ in range(60):
        loss = line_loss(detectors(pair.drawing), pair)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    black, white = detectors(pair.drawing)
    assert loss.item() < first / 4
    assert line_f1(black, pair.black) > 0.9
    assert line_f1(white, pair.white) > 0.9
    assert line_f1(black, pair.white) < 0.1


def test_line_loss_is_small_for_sure_and_right_logits_and_finite_for_wrong_ones():
    pair = toy_pairs(1)
    right = tuple(200 * lines - 100 for lines in (pair.black, pair.white))
    assert line_loss(right, pair).item() == pytest.approx(0, abs=1e-3)
    wrong = line_loss(tuple(-logits for logits in right), pair)
    assert wrong.isfinite()
    assert wrong > 2
    none = LinePair(pair.drawing, torch.zeros_like(pair.black), torch.zeros_like(pair.white))
    assert line_loss((torch.full_like(pair.black, -100), torch.full_like(pair.white, -100)), none).item() == 0


@pytest.mark.parametrize(("shift", "f1"), [(0, 1), (1, 1), (2, 0)])
def test_lines_may_lie_one_pixel_off(shift, f1):
    true, found = torch.zeros(2, 1, 1, 16, 16)
    true[..., 6] = 1
    found[..., 6 + shift] = 1
    assert line_f1(2 * found - 1, true) == f1


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    true, found = torch.zeros(2, 1, 1, 16, 16)
    true[..., 2] = true[..., 8] = 1
    found[..., 2] = 1
    assert line_f1(2 * found - 1, true) == pytest.approx(2 / 3)
    assert line_f1(-torch.ones_like(true), torch.zeros_like(true)) == 1
    assert line_f1(-torch.ones_like(true), true) == 0
    assert line_f1(torch.ones_like(true), torch.zeros_like(true)) == 0


def strokes():
    """A portrait-sized drawing and its line map."""
    drawing, lines = np.full((512, 512), 255, np.uint8), np.full((512, 512), 128, np.uint8)
    drawing[300:] = 0
    for x in range(60, 460, 50):
        for top, bottom, tone in ((60, 280, 0), (320, 480, 255)):
            cv2.line(drawing, (x, top), (x + 30, bottom), tone, 3)
            cv2.line(lines, (x, top), (x + 30, bottom), tone, 1)
    return drawing, lines


@pytest.fixture
def dataset(tmp_path):
    drawing, lines = strokes()
    for folder, image in (("drawings", drawing), ("lines", lines)):
        (tmp_path / folder).mkdir()
        for name in ("one", "two", "three"):
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), image)
    entries = [("one", "train", None), ("two", "train", None), ("three", "val", None), ("four", "train", "no face")]
    rows = [json.dumps({"name": n, "source": n, "split": s, "left_out": why}) for n, s, why in entries]
    (tmp_path / "index.jsonl").write_text("\n".join(rows) + "\n")
    return tmp_path


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_pairs_to_measure_on_are_as_they_were_prepared(dataset):
    pairs = LinePairs(dataset, "val")
    drawing, lines = strokes()
    assert len(pairs) == 1
    pair = pairs[0]
    assert ((pair.drawing[0] + 1) * 127.5).round().byte().numpy().tolist() == drawing.tolist()
    assert (pair.black[0].numpy() == (lines == 0)).all()
    assert (pair.white[0].numpy() == (lines == 255)).all()
    assert {plane.shape for plane in pair} == {(1, 512, 512)}
    assert {plane.dtype for plane in pair} == {torch.float32}
    assert same(pairs[3, 0], pair)


def test_pairs_to_train_on_vary_by_seed_epoch_and_index_alone(dataset):
    pairs = LinePairs(dataset, "train", seed=4)
    assert len(pairs) == 2
    once = pairs[2, 1]
    torch.rand(1), np.random.rand()
    assert same(once, LinePairs(dataset, "train", seed=4)[2, 1])
    for other in (pairs[3, 1], pairs[2, 0], LinePairs(dataset, "train", seed=5)[2, 1]):
        assert not same(once, other)
    assert same(pairs[1], pairs[0, 1])
    drawing, lines = vary(*strokes(), np.random.default_rng([4, 2, 1]))
    assert ((once.drawing[0] + 1) * 127.5).round().byte().numpy().tolist() == drawing.tolist()
    assert (once.black[0].numpy() == (lines == 0)).all()
    assert (once.white[0].numpy() == (lines == 255)).all()
    batch = LinePair(*default_collate([pairs[0], pairs[1]]))
    assert batch.drawing.shape == (2, 1, 512, 512)
    assert batch.drawing.min() >= -1
    assert batch.drawing.max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_lines_move_with_their_drawing(seed):
    drawing, lines = strokes()
    varied, moved = vary(drawing, lines, np.random.default_rng(seed))
    assert varied.dtype == moved.dtype == np.uint8
    assert set(np.unique(moved)) == {0, 128, 255}
    assert not np.array_equal(moved, lines)
    # Noise and softness aside, black lines lie on ink and white ones do not.
    assert np.median(varied[moved == 0]) < 110
    assert np.median(varied[moved == 255]) > 145
    assert 0.7 < (moved == 0).sum() / (lines == 0).sum() < 2


def test_where_a_line_is_broken_there_is_none_to_find():
    off = []
    for seed in range(6):
        varied, moved = vary(*strokes(), np.random.default_rng(seed))
        middle = np.percentile(varied, [2, 98]).mean()
        off.append([(varied[moved == 0] > middle).mean(), (varied[moved == 255] < middle).mean()])
    assert np.mean(off, axis=0).max() < 0.02


def test_a_data_set_without_line_maps_is_refused(dataset):
    for path in (dataset / "lines").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"one\.png cannot be read"):
        LinePairs(dataset, "train")[0]
    (dataset / "lines").rmdir()
    with pytest.raises(DatasetError, match="apdraw prepare --npr"):
        LinePairs(dataset, "train")


def test_a_line_map_with_other_greys_is_refused(dataset):
    cv2.imwrite(str(dataset / "lines" / "one.png"), np.full((512, 512), 90, np.uint8))
    with pytest.raises(DatasetError, match=r"one\.png is no line map"):
        LinePairs(dataset, "train")[0]


def test_a_split_without_portraits_is_refused(dataset):
    (dataset / "index.jsonl").write_text(json.dumps({"name": "one", "split": "train", "left_out": None}) + "\n")
    with pytest.raises(DatasetError, match="no portraits of the split val"):
        LinePairs(dataset, "val")


def test_saved_detectors_find_the_same_lines(tmp_path):
    torch.manual_seed(0)
    detectors = LineDetectors(4)
    save_detectors(tmp_path / "lines.safetensors", detectors, {"provenance": "a test"})
    loaded = load_detectors(tmp_path / "lines.safetensors")
    drawing = torch.rand(1, 1, 32, 32) * 2 - 1
    assert same(loaded(drawing), detectors(drawing))
    assert not any(weight.requires_grad for weight in loaded.parameters())
    assert not loaded.training


def test_what_holds_no_detectors_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "lines.safetensors"
    with pytest.raises(ModelError, match="--stage auxiliary"):
        load_detectors(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="--stage auxiliary"):
        load_detectors(path)
    save_file({"weight": torch.zeros(1)}, path, {"format": "apdraw-generator"})
    with pytest.raises(ModelError, match="holds no line detectors"):
        load_detectors(path)
    save_file({"weight": torch.zeros(1)}, path, {"format": "apdraw-line-detectors", "width": "4"})
    with pytest.raises(ModelError, match="do not fit"):
        load_detectors(path)
