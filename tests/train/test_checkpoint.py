"""Checkpoints survive interrupted writes, full disks and damage."""

import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from engines.errors import CheckpointError
from train.checkpoint import checkpoints, load_checkpoint, save_checkpoint


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((100,), float(step))}


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    for step in (9, 10, 100, 2000):
        save_checkpoint(tmp_path, step, state(step), keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000100.pt", "step-00002000.pt"]
    assert load_checkpoint(tmp_path)["step"] == 2000


def test_a_damaged_one_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, state(step), keep=3)
    newest = checkpoints(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:-200])
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path)["step"] == 1
    assert "step-00000002.pt is damaged" in caplog.text
    checkpoints(tmp_path)[0].write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="every checkpoint"):
        load_checkpoint(tmp_path)


def test_an_interrupted_write_is_no_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state(1), keep=3)
    (tmp_path / "checkpoints" / ".step-00000002.pt.part").write_bytes(b"half")
    assert load_checkpoint(tmp_path)["step"] == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write failed")])
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    save_checkpoint(tmp_path, 1, state(1), keep=1)

    def fail(state: object, file: Any) -> None:
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError, match=r"cannot write .*: (No space left|write failed).*--resume"):
        save_checkpoint(tmp_path, 2, state(2), keep=1)
    assert os.listdir(tmp_path / "checkpoints") == ["step-00000001.pt"]  # noqa: PTH208
    assert load_checkpoint(tmp_path)["step"] == 1


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and named pipes")
def test_links_and_pipes_in_a_run_lead_nowhere(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    for step in (1, 2):
        save_checkpoint(other, step, state(step), keep=2)
    run.mkdir()
    (run / "checkpoints").symlink_to(other / "checkpoints")
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        save_checkpoint(run, 3, state(3), keep=1)
    assert len(checkpoints(other)) == 2
    os.mkfifo(other / "checkpoints" / "step-00000003.pt")
    assert load_checkpoint(other)["step"] == 2
