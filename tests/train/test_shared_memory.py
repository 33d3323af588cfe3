"""Where processes cannot share memory, training reads its pairs alone and says so."""

import shutil
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engines.errors import TrainingError
from train import loop, shared_memory
from train.failures import told_in_one_line
from train.options import resolve
from train.shared_memory import shared_memory_fault

PAIRS = [{"photo": np.zeros((512, 512, 3), np.float32)}]


def refuse() -> None:
    raise OSError(38, "Function not implemented")


def test_there_is_enough_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=64_000_000))
    assert shared_memory_fault(10_000_000) is None
    assert shared_memory_fault(80_000_000) == "/dev/shm has 64 MB free, and 80 MB are needed"


def test_a_system_without_such_a_folder_has_it_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(folder: Any) -> None:
        raise FileNotFoundError(folder)

    monkeypatch.setattr(shutil, "disk_usage", missing)
    assert shared_memory_fault(10**15) is None


def test_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory.multiprocessing, "Lock", refuse)
    assert shared_memory_fault(1) == "/dev/shm is missing or cannot be written"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_few_open_files_are_a_fault() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (255, before[1]))
        assert shared_memory.open_files_fault() == "only 255 files may be open (ulimit -n)"
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert shared_memory.open_files_fault() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Stuck(torch.utils.data.Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        time.sleep(60)
        return index


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "too little memory at batch size 4"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: (Cannot allocate memory)"), "too little memory"),
    ],
)
def test_what_ends_training_is_one_line(error: Exception, told: str) -> None:
    with pytest.raises(TrainingError, match=told), told_in_one_line(4, 1):
        raise error


def test_a_stuck_process_that_reads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)  # until it is ended
    with pytest.raises(TrainingError, match="is stuck"), told_in_one_line(4, 1):
        next(iter(torch.utils.data.DataLoader(Stuck(), num_workers=1, timeout=1)))


@pytest.mark.parametrize(("free", "workers"), [(10**9, 3), (10**6, 0)])
def test_training_reads_alone_where_there_is_too_little(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, free: int, workers: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    fabric: Any = SimpleNamespace(world_size=1, is_global_zero=True)
    assert loop._possible_workers(fabric, PAIRS, resolve({"workers": 3}, None)) == workers  # type: ignore[arg-type]
    assert ("read by the process that trains" in caplog.text) == (workers == 0)
