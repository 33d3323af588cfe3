"""What tests of conversions share."""

from pathlib import Path

import pytest
from conversion_fakes import Desk

from apdraw_cli.conversion.executors import batching


@pytest.fixture(autouse=True)
def batches_are_not_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read for these tests is read at once: whoever waits longer for another portrait waits in vain."""
    monkeypatch.setattr(batching, "FILL_SECONDS", 0.005)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder of photos and a model."""
    return Desk(tmp_path)
