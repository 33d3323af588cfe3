"""The half of a fake TensorRT that builds: an "engine" is its ONNX file, behind a line that tells what GPUs it is for.

Names, parameters and results are those of the real bindings, which `engines/tensorrt/test_names.py` checks.
"""

import enum
import json
import types
from collections import Counter
from typing import Any

import onnx
from fake_cuda import Fault
from onnx import TensorProto

MAGIC = b"PLAN "


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT64 = 8
    UINT8 = 5


class LayerType(enum.Enum):
    CONVOLUTION = 0
    UNARY = 11


class BuilderFlag(enum.Enum):
    TF32 = 6


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 0


class ProfilingVerbosity(enum.Enum):
    DETAILED = 2


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class LayerInformationFormat(enum.Enum):
    JSON = 1


class ComputeCapability(enum.Enum):
    """Of TensorRT for RTX alone."""

    SM75 = 75
    SM80 = 80
    SM86 = 86
    SM89 = 89
    SM120 = 120
    SM121 = 121


class IProgressMonitor:
    def __init__(self) -> None:
        self.ready = True


def plan(content: bytes, capabilities: tuple[str, ...]) -> bytes:
    """The engine that an ONNX file becomes."""
    return MAGIC + ",".join(capabilities).encode() + b"\n" + content


def opened(engine: bytes) -> tuple[tuple[str, ...], bytes]:
    """The compute capabilities that an engine was built for, and its ONNX file.

    Raises:
        ValueError: it is no engine.
    """
    head, _, content = engine.partition(b"\n")
    if not head.startswith(MAGIC):
        raise ValueError("magic tag does not match")
    return tuple(head.removeprefix(MAGIC).decode().split(",")), content


class Builder:
    def __init__(self, library: Any, logger: Any) -> None:
        if not library.cuda.capabilities and library.flavor == "tensorrt":
            raise Fault("TensorRT was called without a GPU")
        library.check_logger(logger)
        self.library, self.logger = library, logger

    def create_network(self, flags):
        if flags != 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED:
            raise Fault("a network in which options choose the types")
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig(self.library)

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        if config.TF32 or not config.profiles:
            raise Fault("TensorFloat-32, or no profile")
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        for step in range(2):
            if not monitor.step_complete("Building", step):
                self.library.tell_error("the build was cancelled")
                return None
        monitor.phase_finish("Building")
        if self.library.refuses_to_build:
            self.library.tell_error(self.library.refuses_to_build)
            return None
        here = self.library.cuda.capabilities[self.library.cuda.current : self.library.cuda.current + 1]
        self.library.built.append(tuple(config.capabilities) or tuple(here))
        return plan(network.content, self.library.built[-1])


class INetworkDefinition:
    content = b""

    def read(self, content: bytes) -> None:
        model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
        graph, self.content = model.graph, content
        known = {port.name: port for port in (*graph.input, *graph.output, *graph.value_info)}
        self._inputs = [_tensor(port) for port in graph.input]
        self._outputs = [_tensor(port) for port in graph.output]
        self._layers = [
            ILayer(node.op_type, _tensor(known[node.output[0]])) for node in graph.node if node.output[0] in known
        ]
        self.num_inputs, self.num_outputs, self.num_layers = map(len, (self._inputs, self._outputs, self._layers))

    def get_input(self, index):
        return self._inputs[index]

    def get_output(self, index):
        return self._outputs[index]

    def get_layer(self, index):
        return self._layers[index]


def _tensor(port: Any) -> types.SimpleNamespace:
    tensor = port.type.tensor_type
    shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim)
    return types.SimpleNamespace(name=port.name, shape=shape, dtype=_DTYPES[tensor.elem_type])


_DTYPES = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.INT64: DataType.INT64,
    TensorProto.UINT8: DataType.UINT8,
}


class ILayer:
    def __init__(self, operator: str, output: Any) -> None:
        self.type = LayerType.CONVOLUTION if operator in ("Conv", "ConvTranspose") else LayerType.UNARY
        self.num_outputs = 1
        self._output = output

    def get_output(self, index):
        return self._output


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: Any) -> None:
        self.network = network
        self.num_errors = 0

    def parse(self, model, path=None):
        try:
            self.network.read(bytes(model))
        except Exception:  # whatever the ONNX library raises
            return False
        return True


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, input, min, opt, max):  # noqa: A002  the library's names
        self.shapes[input] = (min, opt, max)


class IBuilderConfig:
    def __init__(self, library: Any) -> None:
        self.library = library
        self.TF32 = True
        self.profiling_verbosity: Any = None
        self.progress_monitor: Any = None
        self.capabilities: list[str] = []
        self.profiles: list[IOptimizationProfile] = []
        self._count = 0

    @property
    def num_compute_capabilities(self) -> int:
        return self._count

    @num_compute_capabilities.setter
    def num_compute_capabilities(self, count: int) -> None:
        if self.library.flavor != "tensorrt-rtx":
            raise Fault("TensorRT has no compute capabilities to choose from")
        self._count = count

    def clear_flag(self, flag):
        self.TF32 = self.TF32 and flag is not BuilderFlag.TF32

    def set_compute_capability(self, compute_capability, index):
        number = str(compute_capability.value)
        self.capabilities.append(f"{number[:-1]}.{number[-1]}")
        return index < self._count

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)
        return len(self.profiles) - 1


class EngineInspector:
    def __init__(self, content: bytes) -> None:
        network = INetworkDefinition()
        network.read(content)
        self._types = Counter(network.get_layer(index).get_output(0).dtype for index in range(network.num_layers))

    def get_engine_information(self, format):  # noqa: A002
        outputs = [[{"Datatype": dtype.name.title()}] for dtype in self._types.elements()]
        return json.dumps({"Layers": [{"Outputs": output} for output in outputs]})


BUILDING = (Builder, INetworkDefinition, ILayer, OnnxParser, IOptimizationProfile, IBuilderConfig, EngineInspector)
ENUMS = (
    DataType,
    LayerType,
    BuilderFlag,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    MemoryPoolType,
    LayerInformationFormat,
)
