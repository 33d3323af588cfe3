"""`python -m apdraw_cli` runs the packages of this project, whatever lies in the current folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "launcher",
    [
        [sys.executable, "-m", "apdraw_cli"],
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1", "-m", "apdraw_cli"],
    ],
    ids=["python", "torchrun"],
)
def test_a_train_py_in_the_current_folder_is_not_run(launcher: list[str], tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('the user\\'s own file was run')\n")
    # It ends before torch is there, but its options are those of the package `train`.
    command = [*launcher, "train", "nowhere", "--output", "run", "--stage", "none"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert "own file" not in done.stderr
    assert "'none' is not one of 'auxiliary'" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="closes streams with a shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error_of_the_program(closed: str) -> None:
    command = f'"{sys.executable}" -m apdraw_cli convert no-such-folder --json {closed}'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert "report" not in done.stdout + done.stderr
