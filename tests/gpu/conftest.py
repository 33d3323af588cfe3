"""Tests that need an NVIDIA GPU; without one they are skipped, and say what they miss."""

import importlib.util

import pytest

from engines.tensorrt.cuda import RUNTIME, Gpu, find_gpus
from engines.tensorrt.library import flavor_for, install_command, is_installed


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    found = find_gpus()
    if not found:
        pytest.skip("needs an NVIDIA GPU: the driver shows none here")
    return found[0]


@pytest.fixture(scope="session")
def cuda_bindings(gpu: Gpu) -> None:
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec(RUNTIME) is None:
        pytest.skip("needs cuda-bindings: python -m pip install cuda-bindings")


@pytest.fixture(scope="session")
def tensorrt(gpu: Gpu, cuda_bindings: None) -> str:
    """The flavor that draws on the first GPU."""
    flavor = flavor_for(gpu.compute_capability)
    if not is_installed(flavor):
        pytest.skip(f"needs TensorRT: {install_command(flavor)}")
    return flavor
