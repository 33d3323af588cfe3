"""What tests of training ask of the files that it writes."""

from pathlib import Path

import torch
from safetensors.torch import load_file


def assert_same_weights(first: Path, second: Path) -> None:
    """Both files hold the same weights, to the bit."""
    ours, theirs = load_file(first), load_file(second)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
