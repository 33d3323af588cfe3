"""Where processes cannot share memory, training reads its pairs alone and says so."""

import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from train import loop, shared_memory
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


@pytest.mark.parametrize(("free", "workers"), [(10**9, 3), (10**6, 0)])
def test_training_reads_alone_where_there_is_too_little(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, free: int, workers: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    fabric: Any = SimpleNamespace(world_size=1, is_global_zero=True)
    assert loop._possible_workers(fabric, PAIRS, resolve({"workers": 3}, None)) == workers  # type: ignore[arg-type]
    assert ("read by the process that trains" in caplog.text) == (workers == 0)
