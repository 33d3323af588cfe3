"""Tests that need an NVIDIA GPU; without one they are skipped, and say what they miss."""

import importlib.util

import pytest

from engines.tensorrt.cuda import RUNTIME, Gpu, find_gpus
from engines.tensorrt.library import installed_flavor


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
def tensorrt(cuda_bindings: None) -> str:
    """The flavor that is installed."""
    flavor = installed_flavor()
    if flavor is None:
        pytest.skip("needs TensorRT: python -m pip install 'apdraw[tensorrt-rtx]'")
    return flavor
