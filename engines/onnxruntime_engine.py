"""The `onnxruntime` backend: runs an ONNX generator on any CPU, and on an NVIDIA GPU with its CUDA provider."""

import contextlib
import io
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engines import installed
from engines.base import CPU_BATCH_SIZE, GPU_BATCH_SIZE, Backend, EngineRequest, EngineStatus
from engines.errors import EngineError, first_line
from engines.installed import Part
from engines.machine_faults import machine_fault
from engines.model_info import ModelInfo
from engines.offline import import_onnxruntime
from engines.portrait import Image, PortraitBatch
from engines.signature import Port, check_batch, check_signature
from engines.tensorrt.cuda import Gpu

NAME: Final = "onnxruntime"
INSTALL: Final = "python -m pip install onnxruntime"
INSTALL_CUDA: Final = (
    "python -m pip uninstall -y onnxruntime onnxruntime-gpu && python -m pip install 'onnxruntime-gpu[cuda,cudnn]'"
)
"""Both are one Python module: whichever is removed last takes the other's files along."""

CUDA: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"


def status(gpus: tuple[Gpu, ...]) -> EngineStatus:
    """Tells whether ONNX Runtime can be imported, and whether this build of it can use the GPUs."""
    try:
        ort = import_onnxruntime()
    except (ImportError, OSError) as error:
        return EngineStatus(NAME, False, None, (), f"onnxruntime cannot be imported: {first_line(error)}", INSTALL)
    if gpus and CUDA not in ort.get_available_providers():
        reason = "this build of onnxruntime has no CUDA provider"
        return EngineStatus(NAME, True, ort.__version__, ("cpu",), reason, INSTALL_CUDA)
    devices = (*(f"cuda:{number}" for number in range(len(gpus))), "cpu")
    return EngineStatus(NAME, True, ort.__version__, devices)


def parts(gpus: tuple[Gpu, ...]) -> tuple[Part, ...]:
    """The build of ONNX Runtime that draws on GPUs."""
    version, purpose = installed.version_of("onnxruntime-gpu"), "draws .onnx models on a GPU"
    if version is None:
        return (Part("onnxruntime-gpu", None, f"not installed; {purpose}", INSTALL_CUDA if gpus else None),)
    return (Part("onnxruntime-gpu", version, purpose),)


class OnnxRuntimeEngine:
    """An ONNX generator in an ONNX Runtime session. See `Engine`.

    Args:
        request: what to open. The precision is what the graph computes in there: a CPU computes fp16 graphs in fp32, a
            GPU in fp16.

    Raises:
        EngineError: ONNX Runtime cannot load the model, use the GPU, or compute in the precision.
        ModelFileError: the graph is not a portrait generator.
    """

    name = NAME

    def __init__(self, request: EngineRequest) -> None:
        model, device = request.model, request.device
        on_cpu = device == "cpu"
        self.device = device
        self.precision = _choose_precision(request.precision, request.info, device)
        self.batch_size = request.batch_size or (CPU_BATCH_SIZE if on_cpu else GPU_BATCH_SIZE)
        # One call uses all threads of a CPU; beside a GPU the next call's photos can be copied meanwhile.
        self.concurrency = 1 if on_cpu else 2
        self._turns = threading.BoundedSemaphore(self.concurrency)
        self._model = model
        self._session: Any = _open_session(model, device)
        check_signature(model, _ports(self._session.get_inputs()), _ports(self._session.get_outputs()))

    def draw(self, batch: PortraitBatch) -> Image:
        """Draws a batch; see `Engine.draw`."""
        inputs = check_batch(batch)
        with self._turns:
            session = self._session
            if session is None:
                raise EngineError(f"the onnxruntime engine with {self._model} is closed; open it again")
            try:
                drawing = self._run(session, inputs, len(batch))
            except Exception as error:  # the library's errors have no other class in common
                reason = (machine_fault(error) if self.device == "cpu" else None) or _reason(error)
                raise EngineError(
                    f"onnxruntime failed on a batch of {len(batch)}: {reason}; try a smaller --batch-size"
                ) from error
        return drawing

    def _run(self, session: Any, inputs: dict[str, npt.NDArray[Any]], count: int) -> Image:
        """Draws a batch; on a GPU in batches of one size, since it would choose kernels anew for each other size."""
        if self.device == "cpu":
            whole: Image = session.run(["drawing"], inputs)[0]
            return whole
        drawings = []
        for start in range(0, count, self.batch_size):
            parts = {name: array[start : start + self.batch_size] for name, array in inputs.items()}
            missing = self.batch_size - len(parts["photo"])
            padded = {name: _padded(array, missing) for name, array in parts.items()}
            drawings.append(session.run(["drawing"], padded)[0][: self.batch_size - missing])
        return np.concatenate(drawings)

    def close(self) -> None:
        """Frees the model once the calls in flight are done."""
        self._session = None


def _padded(array: npt.NDArray[Any], missing: int) -> npt.NDArray[Any]:
    return np.concatenate((array, np.repeat(array[-1:], missing, axis=0))) if missing else array


def _choose_precision(asked: str, info: ModelInfo, device: str) -> str:
    computed = "fp32" if device == "cpu" and info.precision == "fp16" else info.precision
    if asked not in ("auto", computed):
        raise EngineError(
            f"onnxruntime cannot draw in {asked} on {device}: it computes this model in {computed} there; "
            f"use --precision {computed}"
        )
    return computed


def _open_session(model: Path, device: str) -> Any:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # what ends the process; errors are raised, too
    if device != "cpu":
        options.intra_op_num_threads = 1  # beside a GPU more would only spin
    providers: list[Any] = [CPU]
    if device != "cpu":
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            ort.preload_dlls()  # CUDA and cuDNN from their wheels, which are on no library path
        number = device.partition(":")[2]
        # TensorFloat-32 keeps 10 of 23 bits; an exhaustive search would stall every new batch size.
        cuda = {"device_id": number, "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
        providers.insert(0, (CUDA, cuda))
    try:
        session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # the library's errors have no other class in common
        fault = machine_fault(error) if device == "cpu" else None  # else it may be the GPU's memory
        reason = fault or f"{_reason(error)}; is the file whole?"
        raise EngineError(f"onnxruntime cannot load {model}: {reason}") from error
    if device != "cpu" and session.get_providers()[0] != CUDA:
        raise EngineError(
            f"onnxruntime cannot draw on {device}: its CUDA provider did not start, most often for want of "
            f"CUDA or cuDNN libraries; install them with: {INSTALL_CUDA}"
        )
    return session


def _reason(error: Exception) -> str:
    """What went wrong, without the library's own prefix `[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : `."""
    text = first_line(error)
    return text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text


def _ports(nodes: Any) -> list[Port]:
    """Inputs or outputs of a session as `Port`s; the library writes `tensor(uint8)` and names free sizes."""
    dtypes = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    return [
        Port(
            node.name,
            dtypes.get(node.type, node.type),
            tuple(s if isinstance(s, int) else None for s in node.shape),
        )
        for node in nodes
    ]


BACKEND: Final = Backend(
    name=NAME,
    suffixes=(".onnx",),
    devices=("cuda", "cpu"),
    precisions=("fp32", "fp16", "int8"),
    status=status,
    open=OnnxRuntimeEngine,
    parts=parts,
)
