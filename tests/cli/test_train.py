"""`apdraw train --dry-run`: what a training would do."""

from pathlib import Path

import pytest

from apdraw_cli.commands.train import plan
from engines.errors import DatasetError


def test_the_plan_counts_work_without_doing_it(tiny_dataset: Path) -> None:
    found = plan(tiny_dataset, {"stage": "pretrain", "steps": 6, "width": 4, "discriminator_width": 4}, None)
    assert found.steps == 6
    assert found.pairs == 3
    assert found.weights.keys() == {"generator", "discriminators"}
    assert found.gflop_per_step > 1


def test_the_plan_does_not_wait_for_the_data_set(tmp_path: Path) -> None:
    given = {"stage": "auxiliary", "detector_width": 4}
    with pytest.raises(DatasetError):
        plan(tmp_path, given, None)
    (tmp_path / ".apdraw-prepare").mkdir()
    found = plan(tmp_path, given, None)
    assert (found.pairs, found.steps) == (None, None)
    assert found.gflop_per_step > 1
    assert plan(tmp_path, {**given, "steps": 6}, None).steps == 6
