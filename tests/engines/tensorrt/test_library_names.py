"""The fakes speak the language of the real bindings: every name, parameter and constant of theirs is a real one."""

import inspect
import json
import re

import fake_cuda
import fake_tensorrt
import fake_tensorrt_builder
import pytest

from engines.tensorrt.cuda import RUNTIME, UTILS

CLASSES = (
    fake_tensorrt.ILogger,
    fake_tensorrt.Runtime,
    fake_tensorrt.IRuntimeConfig,
    fake_tensorrt.IRuntimeCache,
    fake_tensorrt.ICudaEngine,
    fake_tensorrt.IExecutionContext,
    *fake_tensorrt_builder.BUILDING,
)
ENUMS = (
    *fake_tensorrt_builder.ENUMS,
    fake_tensorrt_builder.ComputeCapability,
    fake_tensorrt.TensorIOMode,
    fake_tensorrt.ExecutionContextAllocationStrategy,
    fake_tensorrt.CudaGraphStrategy,
    fake_tensorrt.DynamicShapesKernelSpecializationStrategy,
)

SPECIALISING = "dynamic_shapes_kernel_specialization_strategy"

RTX_ONLY = {
    "CudaGraphStrategy",
    "cuda_graph_strategy",
    "DynamicShapesKernelSpecializationStrategy",
    SPECIALISING,
    "IRuntimeCache",
    "create_runtime_cache",
    "set_runtime_cache",
    "ComputeCapability",
    "num_compute_capabilities",
    "set_compute_capability",
}

ATTRIBUTES = {
    "ICudaEngine": ["num_io_tensors"],
    "IRuntimeConfig": ["cuda_graph_strategy", SPECIALISING],
    "ILogger": ["Severity"],
    "IBuilderConfig": ["profiling_verbosity", "progress_monitor", "num_compute_capabilities"],
    "INetworkDefinition": ["num_inputs", "num_outputs", "num_layers"],
    "ILayer": ["type", "num_outputs"],
    "OnnxParser": ["num_errors"],
}
"""What the engine reads or sets, beside calling methods."""


def methods(kind):
    found = {name: method for name, method in vars(kind).items() if inspect.isfunction(method) and name[0] != "_"}
    return {name: method for name, method in found.items() if name != "read"}  # the fake's own


@pytest.fixture(params=["api_rtx17.json", "api_trt114.json"])
def api(request, shared):
    return request.param, json.loads((shared / "tensorrt" / request.param).read_text())["api"]


def test_the_names_are_those_of_the_bindings_of_both_flavors(api):
    listing, known = api
    missing = []
    for kind in CLASSES:
        if kind.__name__ not in known:
            missing.append(kind.__name__)
            continue
        names = {*methods(kind), *ATTRIBUTES.get(kind.__name__, [])}
        missing += names - {*known[kind.__name__]["members"]}
    for kind in ENUMS:
        if kind.__name__ not in known:
            missing.append(kind.__name__)
        else:
            assert {member.name for member in kind} <= {*known[kind.__name__]["enum"]}
    assert {*missing} <= (RTX_ONLY if listing == "api_trt114.json" else set())


def test_names_and_parameters_are_those_of_tensorrt_rtx():
    real = pytest.importorskip("tensorrt_rtx")
    for kind in CLASSES:
        for name in ATTRIBUTES.get(kind.__name__, []):
            assert hasattr(getattr(real, kind.__name__), name)
        for name, method in methods(kind).items():
            wanted = [*inspect.signature(method).parameters][1:]
            documented = getattr(getattr(real, kind.__name__), name).__doc__
            signatures = re.findall(rf"\b{name}\(self: [\w.]+(.*)\) ->", documented)
            found = [re.findall(r"[,(] (\w+): ", signature) for signature in signatures]
            assert wanted in found, name
    for kind in ENUMS:
        values = getattr(real, kind.__name__).__members__
        for member in kind:
            assert values[member.name].value == member.value
    severities = real.ILogger.Severity.__members__
    assert {member.name for member in fake_tensorrt.Severity} == {*severities}
    assert real.__version__


def test_names_and_parameters_are_those_of_cuda_bindings():
    real = pytest.importorskip(RUNTIME)
    for name, function in fake_cuda.FakeCuda().functions().items():
        assert [*inspect.signature(function).parameters] == [*inspect.signature(getattr(real, name)).parameters], name
    utils = pytest.importorskip(UTILS)
    assert [*inspect.signature(utils.get_cuda_native_handle).parameters] == ["obj"]
    for name, value in fake_cuda.CONSTANTS.items():
        assert getattr(real, name) == value, name
    for kind in fake_cuda.ENUMS:
        for member in kind:
            assert int(getattr(getattr(real, kind.__name__), member.name)) == member.value, member


def test_without_a_driver_the_real_bindings_return_codes_as_the_fake_does():
    real = pytest.importorskip(RUNTIME)
    code, *_ = real.cudaGetDeviceCount()
    assert isinstance(code, real.cudaError_t)
    assert code.name in real.cudaError_t.__members__
    success, text = real.cudaGetErrorString(real.cudaError_t.cudaErrorMemoryAllocation)
    assert (success, text) == (real.cudaError_t.cudaSuccess, b"out of memory")
