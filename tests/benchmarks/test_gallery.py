"""The gallery's commands, as they are written in its first lines."""

import csv
import json
import shutil
import sys

import cv2
import numpy as np
import pytest

from benchmarks import gallery
from engines.select import shipped_model


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gallery", *map(str, arguments)])
        gallery.main()
        return capsys.readouterr().out

    return run


GAP, LETTERS = gallery.CELL // 16, gallery.CELL // 12
"""Of a contact sheet with cells of that size."""


def test_drawings_are_made_measured_and_shown_side_by_side(tiny_dataset, tmp_path, run):
    run("draw", tiny_dataset, shipped_model(), tmp_path / "drawn", "--split", "train")
    drawn = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert drawn == {path.name for path in (tiny_dataset / "drawings").iterdir()}
    told = run("measure", tiny_dataset, tmp_path / "drawn", "--split", "train")
    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "mean grey level outside the person",
        "share of two-tone pixels",
        "largest grey spot, share of the picture",
        "black around the fainter eye",
    ]
    assert run(
        "sheet", tiny_dataset, tmp_path / "sheet", tmp_path / "drawn", tiny_dataset / "drawings", "--split", "train"
    )
    page = cv2.imread(str(tmp_path / "sheet" / "page-00.png"))
    assert page.shape[1] == GAP + 3 * (gallery.CELL + GAP)


def test_blind_verdicts_count_for_the_folder_that_was_shown(tiny_dataset, tmp_path, run):
    black = tmp_path / "black"
    shutil.copytree(tiny_dataset / "drawings", black)
    for path in black.iterdir():
        cv2.imwrite(str(path), np.zeros((512, 512), np.uint8))
    out = tmp_path / "blind"
    run("blind", tiny_dataset, out, black, tiny_dataset / "drawings", "--seed", "3", "--split", "train")
    key = json.loads((out / "key.json").read_text())
    page = cv2.imread(str(out / "page-00.png"), cv2.IMREAD_GRAYSCALE)
    wide, high = gallery.CELL + GAP, LETTERS + 3 * GAP + gallery.CELL
    with (out / "verdicts.csv").open("w", newline="") as lines:
        for entry in key[: gallery.ROWS]:
            row = page[GAP + entry["number"] * high :][:high]
            left, right = row[:, GAP + wide : GAP + 2 * wide].mean(), row[:, GAP + 2 * wide :].mean()
            csv.writer(lines).writerow([entry["number"], "left" if left > right else "right", "less black"])
    count = min(len(key), gallery.ROWS)
    assert run("verdicts", out) == f"{tiny_dataset / 'drawings'}: {count} of {count}, 100%\n"
