"""Nothing that is read back from a data set is trusted: whatever its index says, nothing outside changes."""

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apdraw_cli.conversion.formats.png import encode_picture
from apdraw_cli.datasets.records import JOURNAL, UNFINISHED, PairRecord, Records, write
from engines.errors import DatasetError, UsageError
from engines.landmarks_file import format_landmarks
from engines.portrait import TEMPLATE
from train.data.layout import FOLDERS, INDEX, file_of
from train.data.pairs import PortraitPairs

PICTURE = encode_picture(np.zeros((8, 8), np.uint8))

PARTS = st.sampled_from(["..", ".", "", "a", "mine", "photos", "elsewhere", "victim", "/"])
NAMES = (
    st.lists(PARTS, max_size=5).map("/".join) | st.text(max_size=6) | st.none() | st.integers() | st.lists(st.none())
)
LINES = st.fixed_dictionaries(
    {"name": NAMES, "source": NAMES},
    optional={
        "split": st.sampled_from(["train", "val"]) | NAMES,
        "left_out": st.none() | NAMES,
        "written": st.booleans() | NAMES,
        "agreement": st.none() | st.floats() | NAMES,
        "fingerprint": NAMES,
        "else": NAMES,
    },
)
THINGS = st.dictionaries(
    st.sampled_from([*FOLDERS, UNFINISHED, "photos/a.png", "landmarks/a.txt", "index.jsonl", ".apdraw.lock"]),
    st.sampled_from(["pipe", "../elsewhere", "../victim.png", "file", "/dev/zero", "nothing"]),
    max_size=3,
)


def users(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if not path.is_relative_to(folder / "dataset")]
    paths += [path for path in (folder / "dataset").glob("*/mine.*") if not path.parent.is_symlink()]
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in paths}


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and named pipes")
@given(st.lists(LINES, max_size=4), st.lists(LINES, max_size=2), THINGS)
def test_whatever_a_data_set_holds(
    index: list[dict[str, Any]], journal: list[dict[str, Any]], things: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, dataset = Path(name), Path(name) / "dataset"
        for inner in FOLDERS:
            (folder / "elsewhere" / inner).mkdir(parents=True)
        (folder / "victim.png").write_bytes(PICTURE)
        for path in ("a.png", "photos/a.png", "photos/mine.png"):
            (folder / "elsewhere" / path).write_bytes(PICTURE)
        dataset.mkdir()
        for place, kind in things.items():
            put(dataset / place, kind)
        with contextlib.suppress(OSError):
            (dataset / "photos").mkdir(exist_ok=True)
            (dataset / "photos/mine.png").write_bytes(b"the user's own")
        for lines, path in ((index, dataset / INDEX), (journal, dataset / UNFINISHED / JOURNAL)):
            if path.parent.is_dir() and not path.parent.is_symlink() and not os.path.lexists(path):
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        before = users(folder)
        with contextlib.suppress(DatasetError):
            PortraitPairs(dataset, "train")
        with contextlib.suppress(UsageError), Records(dataset, [], FOLDERS) as records:
            files = {
                file_of(dataset, inner, "a"): format_landmarks(TEMPLATE) if inner == "landmarks" else PICTURE
                for inner in FOLDERS
            }
            write(dataset, files)
            record = PairRecord("a", "a.jpg", split="train", fingerprint="f", written=True)
            records.add(record)
            records.finish([record])
        assert users(folder) == before


def put(path: Path, kind: str) -> None:
    if path.parent.is_symlink() or not path.parent.is_dir():
        return
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "file":
        path.write_text("the user's own")
    else:
        path.symlink_to(kind)
