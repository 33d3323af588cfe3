"""A data set of tidied drawings."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import ApdrawError, DatasetError
from engines.portrait import SIZE
from engines.select import shipped_model
from train.data.line_pairs import LinePairs
from train.data.pairs import PortraitPairs
from train.redraw import redraw


@pytest.fixture
def given(tiny_dataset: Path, labels: np.ndarray, tmp_path: Path) -> Path:
    """The tiny data set, with label maps."""
    given = tmp_path / "given"
    shutil.copytree(tiny_dataset, given)
    (given / "labels").mkdir()
    names = [json.loads(line)["name"] for line in (given / "index.jsonl").read_text().splitlines()]
    for name in names:
        cv2.imwrite(str(given / "labels" / f"{name}.png"), labels)
    return given


def test_it_writes_a_data_set_like_the_one_given(given: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told: list[tuple[int, int | None]] = []
    assert redraw(given, shipped_model(), out, lambda *progress: told.append(progress)) == 3
    assert told == [(1, 3), (2, 3), (3, 3)]
    before, after = (PortraitPairs(folder, "train") for folder in (given, out))
    assert before.names == after.names
    assert np.array_equal(before[0].photo, after[0].photo)
    assert not np.array_equal(before[0].drawing, after[0].drawing)
    assert LinePairs(out, "train")[0].black.shape == (1, SIZE, SIZE)
    with pytest.raises(DatasetError, match="is there already"):
        redraw(given, shipped_model(), out)


def test_what_cannot_be_used_is_one_line(tiny_dataset: Path, given: Path, tmp_path: Path) -> None:
    for dataset, model, message in (
        (tiny_dataset, shipped_model(), "labels"),
        (tmp_path / "nothing", shipped_model(), "nothing"),
        (given, tmp_path / "no.onnx", "no.onnx"),
    ):
        with pytest.raises(ApdrawError, match=message) as caught:
            redraw(dataset, model, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
