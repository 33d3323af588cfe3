"""Commands run in the process of the tests."""

import math

import pytest


@pytest.fixture(autouse=True)
def no_progress_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine progress would be told in between of what a test expects; where it is tested, it is told."""
    monkeypatch.setattr("apdraw_cli.progress.LINE_SECONDS", math.inf)
