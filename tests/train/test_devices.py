"""The devices of a run, made where other programs are about."""

import os
from pathlib import Path

import pytest

from train.devices import make_fabric
from train.options import TrainOptions


@pytest.mark.skipif(os.name == "nt", reason="Slurm is not looked for there")
def test_nothing_is_said_where_slurm_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert make_fabric(TrainOptions(device="cpu")).device.type == "cpu"  # a warning would be an error
