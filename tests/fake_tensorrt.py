"""TensorRT on a `FakeCuda`: an "engine" is an ONNX file, and its kernels are ONNX Runtime on the CPU.

Names, parameters and results are those of the real bindings, which `engines/test_tensorrt_names.py` checks.
"""

import dataclasses
import enum
import functools
import importlib.machinery
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_cuda
import fake_tensorrt_builder as builder
import numpy as np
import onnxruntime
from fake_cuda import FakeCuda, Fault, Stream, Work
from fake_tensorrt_builder import DataType

from engines.model_info import read_metadata, sha256
from engines.portrait import SIZE
from engines.synthetic import synthetic_portraits
from engines.tensorrt.sidecar import Sidecar, this_platform, write_sidecar
from engines.tensorrt.trial import PORTRAITS, reference_path, write_reference


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class CudaGraphStrategy(enum.Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY = 0
    EAGER = 1
    NONE = 2


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self.ready = True

    def log(self, severity, msg):
        raise NotImplementedError


class FakeTensorRT:
    """An installed TensorRT.

    Attributes:
        portrait_scratch: bytes of GPU memory that one portrait of a batch needs.
        fail: results by method, with what the log is told then.
        deserialised: how many engines were loaded.
        graph_strategies: of the contexts made, where one was given.
        spoilt: bits that are wrong in each grey level it draws.
        built: the compute capabilities of each engine that was built.
        refuses_to_build: what a build fails with.
        compiled: how many kernels TensorRT for RTX had to compile, for want of them in a context's cache.
    """

    def __init__(self, cuda: FakeCuda, flavor: str = "tensorrt", version: str = "11.4.0") -> None:
        self.cuda, self.flavor, self.version = cuda, flavor, version
        self.portrait_scratch = 1 << 20
        self.fail: dict[str, tuple[Any, str]] = {}
        self.deserialised = 0
        self.graph_strategies: list[CudaGraphStrategy] = []
        self.compiled = 0
        self.spoilt = 0
        self.logger: Any = None
        self.built: list[tuple[str, ...]] = []
        self.refuses_to_build = ""

    def module(self) -> types.ModuleType:
        name = self.flavor.replace("-", "_")
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__version__ = self.version
        module.Runtime = functools.partial(Runtime, self)
        module.ILogger = ILogger
        module.Builder = functools.partial(builder.Builder, self)
        kinds = (TensorIOMode, ExecutionContextAllocationStrategy, builder.OnnxParser, builder.IProgressMonitor)
        for kind in (*kinds, *builder.ENUMS):
            setattr(module, kind.__name__, kind)
        if self.flavor == "tensorrt-rtx":
            module.ComputeCapability = builder.ComputeCapability
            module.CudaGraphStrategy = CudaGraphStrategy
            module.DynamicShapesKernelSpecializationStrategy = DynamicShapesKernelSpecializationStrategy
        return module

    def check_logger(self, logger: Any) -> None:
        """TensorRT takes the first logger of a process for good."""
        if not (isinstance(logger, ILogger) and logger.ready):
            raise Fault("a logger whose base class was not initialised")
        if self.logger not in (None, logger):
            raise Fault("a second logger, which TensorRT would ignore")
        self.logger = logger

    def tell_error(self, message: str) -> None:
        self.logger.log(Severity.ERROR, message)


def failing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a test make a method fail."""

    @functools.wraps(method)
    def tried(self, *arguments):
        library = self.library
        if method.__name__ in library.fail:
            result, message = library.fail[method.__name__]
            self.logger.log(Severity.ERROR, message)
            return result
        return method(self, *arguments)

    return tried


class Runtime:
    def __init__(self, library: FakeTensorRT, logger) -> None:
        if not library.cuda.capabilities:
            raise Fault("TensorRT was called without a GPU")
        library.check_logger(logger)
        self.library, self.logger = library, logger

    @failing
    def deserialize_cuda_engine(self, serialized_engine):
        self.library.deserialised += 1
        try:
            capabilities, content = builder.opened(bytes(serialized_engine))
            engine = ICudaEngine(self, session_of(content), content)
        except Exception:
            self.logger.log(Severity.ERROR, "Error Code 1: Serialization (magic tag does not match)")
            return None
        if self.library.cuda.capabilities[engine.device] not in capabilities:
            self.logger.log(Severity.ERROR, "Error Code 6: the engine was generated for another compute capability")
            return None
        return engine


class IRuntimeCache:
    def __init__(self, library: FakeTensorRT) -> None:
        self.library = library
        self.kernels: set[int] = set()

    def deserialize(self, blob):
        version, _, kernels = bytes(blob).decode(errors="replace").partition(":")
        if version != self.library.version:
            return False
        self.kernels = {int(size) for size in kernels.split(",")}
        return True

    def serialize(self):
        return f"{self.library.version}:{','.join(map(str, sorted(self.kernels)))}".encode()


class IRuntimeConfig:
    def __init__(self, library: FakeTensorRT) -> None:
        self.library, self.cache = library, None
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
        self.strategy = ExecutionContextAllocationStrategy.STATIC
        self.cuda_graph_strategy = CudaGraphStrategy.DISABLED

    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy

    def create_runtime_cache(self):
        return IRuntimeCache(self.library)

    def set_runtime_cache(self, cache):
        self.cache = cache
        return True


class ICudaEngine:
    def __init__(self, runtime: Runtime, session: onnxruntime.InferenceSession, content: bytes) -> None:
        self.runtime, self.session, self.content = runtime, session, content
        self.library, self.logger = runtime.library, runtime.logger
        self.device = self.library.cuda.current
        self.ports = {port.name: port for port in (*session.get_inputs(), *session.get_outputs())}
        self.num_io_tensors = len(self.ports)

    def get_tensor_name(self, index):
        return [*self.ports][index]

    def get_tensor_dtype(self, name):
        return {"tensor(uint8)": DataType.UINT8, "tensor(float)": DataType.FLOAT}[self.ports[name].type]

    def get_tensor_shape(self, name):
        return tuple(size if isinstance(size, int) else -1 for size in self.ports[name].shape)

    def get_tensor_mode(self, name):
        inputs = [port.name for port in self.session.get_inputs()]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def create_engine_inspector(self):
        return builder.EngineInspector(self.content)

    @failing
    def create_runtime_config(self):
        return IRuntimeConfig(self.library)

    @failing
    def create_execution_context(self, strategy=ExecutionContextAllocationStrategy.STATIC):
        cache = None
        if self.library.flavor == "tensorrt-rtx" and not isinstance(strategy, IRuntimeConfig):
            raise Fault("kernels that are compiled at every start")
        if isinstance(strategy, IRuntimeConfig):
            cache = strategy.cache
            if strategy.dynamic_shapes_kernel_specialization_strategy.name != "EAGER" or cache is None:
                raise Fault("slow kernels at first, or kernels that are compiled at every start")
            self.library.graph_strategies.append(strategy.cuda_graph_strategy)
            strategy = strategy.strategy
        if strategy is not ExecutionContextAllocationStrategy.USER_MANAGED:
            raise Fault("a context that takes the memory of the largest batch")
        return IExecutionContext(self, cache)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, cache: IRuntimeCache | None) -> None:
        self.engine, self.cache = engine, cache
        self.library, self.logger = engine.library, engine.logger
        self.profile: int | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.scratch: tuple[int, int] | None = None

    @failing
    def set_optimization_profile_async(self, profile_index, stream_handle):
        self.profile = profile_index
        return True

    @failing
    def set_input_shape(self, name, shape):
        known = self.engine.get_tensor_shape(name)
        if len(shape) != len(known) or any(k not in (-1, s) for k, s in zip(known, shape, strict=True)):
            self.logger.log(Severity.ERROR, f"wrong shape {shape} of {name}")
            return False
        self.shapes[name] = shape
        return True

    @failing
    def set_tensor_address(self, name, memory):
        if name not in self.engine.ports:
            return False
        self.addresses[name] = memory
        return True

    def _needed(self) -> int:
        inputs = [port.name for port in self.engine.session.get_inputs()]
        if self.profile is None or {*inputs} != {*self.shapes}:
            return 0
        return self.shapes[inputs[0]][0] * self.library.portrait_scratch

    @failing
    def update_device_memory_size_for_shapes(self):
        return self._needed()

    def set_device_memory(self, memory, size):
        self.scratch = (memory, size)

    @failing
    def execute_async_v3(self, stream_handle):
        cuda = self.library.cuda
        stream = cuda.handle(stream_handle, Stream)
        if not {self.engine.device, stream.device} == {cuda.current}:
            raise Fault("an engine of one GPU run on another")
        if self.scratch is None or self.scratch[1] < max(self._needed(), 1):
            raise Fault("a context without the memory that it needs")
        count = next(iter(self.shapes.values()))[0]
        if self.cache is not None and count not in self.cache.kernels:
            self.library.compiled += 1
            self.cache.kernels.add(count)
        tensors = {name: self._tensor(name, count, stream.device) for name in self.engine.ports}
        scratch = cuda.find(*self.scratch, stream.device)
        outputs = [port.name for port in self.engine.session.get_outputs()]

        def kernel() -> None:
            inputs = {name: read() for name, (_, read, _) in tensors.items() if name not in outputs}
            if any(value.any() for value in inputs.values()):
                results = self.engine.session.run(outputs, inputs)
            else:  # the first of every engine
                results = _drawn_of_nothing(self.engine.content, count)
            for name, result in zip(outputs, results, strict=True):
                tensors[name][2](result ^ self.library.spoilt)

        self.library.cuda.hand_over(
            stream, Work(kernel, (self, scratch, *(memory for memory, _, _ in tensors.values())))
        )
        return True

    def _tensor(self, name: str, count: int, device: int) -> tuple[Any, Callable[[], Any], Callable[[Any], None]]:
        """The memory of a tensor, and functions that read and write it."""
        kind = {DataType.UINT8: np.uint8, DataType.FLOAT: np.float32}[self.engine.get_tensor_dtype(name)]
        shape = (count, *self.engine.get_tensor_shape(name)[1:])
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        address = self.addresses[name]
        memory = self.library.cuda.find(address, size, device)

        def read() -> Any:
            return memory.part(address, size).view(kind).reshape(shape).copy()

        def write(value: Any) -> None:
            memory.part(address, size)[:] = np.ascontiguousarray(value, kind).view(np.uint8).ravel()

        return memory, read, write


def install(monkeypatch, cuda: FakeCuda, library: FakeTensorRT) -> None:
    """Makes them what a program finds when it imports CUDA and TensorRT."""
    fake_cuda.install(monkeypatch, cuda)
    for flavor in ("tensorrt", "tensorrt-rtx"):
        module = library.module() if flavor == library.flavor else None
        monkeypatch.setitem(sys.modules, flavor.replace("-", "_"), module)


def write_engine(path: Path, onnx: Path, **changes: Any) -> Path:
    """Writes an engine of an ONNX file, and its sidecar with some values changed."""
    path.write_bytes(builder.plan(onnx.read_bytes(), changes.get("compute_capabilities", ("8.9",))))
    info = dataclasses.asdict(read_metadata(onnx))
    metadata = {name: text for name, text in info.items() if isinstance(text, str)}
    values = {
        "flavor": "tensorrt",
        "version": "11.4.0",
        "compute_capabilities": ("8.9",),
        "platform": this_platform(),
        "onnx_sha256": sha256(onnx),
        "engine_sha256": sha256(path),
        "batch_size": 4,
        "precision": info["precision"],
        "layers": {"FLOAT": 1},
        "options": {},
        "model": {"format": "apdraw-generator", "format_version": "1", **metadata},
    }
    reference_path(path).write_bytes(_reference(onnx.read_bytes()))
    write_sidecar(path, Sidecar(**{**values, **changes}))
    return path


def session_of(onnx: bytes) -> onnxruntime.InferenceSession:
    """In one thread: others would spin between the calls."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(onnx, options)


@functools.lru_cache(maxsize=64)
def _drawn_of_nothing(onnx: bytes, count: int) -> list[np.ndarray]:
    session = session_of(onnx)
    kinds = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
    zeros = {port.name: np.zeros((count, *port.shape[1:]), kinds[port.type]) for port in session.get_inputs()}
    return session.run(None, zeros)


@functools.cache
def _reference(onnx: bytes) -> bytes:
    """What a build leaves beside an engine of this graph."""
    try:
        drawings = session_of(onnx).run(None, synthetic_portraits(PORTRAITS).inputs())[0]
    except Exception:  # of a graph that is no generator
        drawings = np.zeros((PORTRAITS, SIZE, SIZE), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        engine = Path(folder) / "any.engine"
        write_reference(engine, drawings)
        return reference_path(engine).read_bytes()
