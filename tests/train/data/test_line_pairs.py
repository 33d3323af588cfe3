import json

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from engines.errors import DatasetError
from train.data.line_pairs import LinePair, LinePairs, vary


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
