"""What tests of conversions share."""

from pathlib import Path

import pytest
from conversion_fakes import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder of photos and a model."""
    return Desk(tmp_path)
