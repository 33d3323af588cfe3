"""The log of a run can be read after a crash at any byte, and goes on where the run does."""

import json
import os
from pathlib import Path

import pytest

from train.run_log import FILE, RunLog, read_metrics


def test_what_a_run_repeats_is_taken_out(tmp_path: Path) -> None:
    metrics = RunLog(tmp_path, 0)
    for step in (10, 20, 30):
        metrics.write(step, {"loss": step / 7})
    metrics.close()
    with (tmp_path / FILE).open("a") as file:
        file.write('{"step": 4')  # torn by a crash
    resumed = RunLog(tmp_path, 20)
    resumed.write(21, {"loss": 1.0})
    resumed.close()
    assert [line["step"] for line in read_metrics(tmp_path)] == [10, 20, 21]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("line", ["[" * 100_000, "9" * 9999, "[]", "null", '{"step": "1"}', '{"loss": 1}', "\udcff"])
def test_a_line_that_makes_no_sense_is_a_torn_one(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE).write_bytes((json.dumps({"step": 1}) + "\n" + line + "\n").encode(errors="surrogateescape"))
    assert read_metrics(tmp_path) == [{"step": 1}]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and named pipes")
def test_neither_a_pipe_nor_a_link_is_written(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / FILE).symlink_to(tmp_path / "victim")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / FILE)
    for run in ("link", "pipe"):
        with pytest.raises(OSError, match="not a regular file"):
            RunLog(tmp_path / run, 0).write(1, {"loss": 1.0})
    assert (tmp_path / "victim").read_text() == "mine"
