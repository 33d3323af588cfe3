"""Calls of CUDA: `cuda-bindings`, NVIDIA's own package, for streams and memory; the driver itself to list the GPUs."""

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engines.errors import CudaError, EngineError, OutOfGpuMemoryError, first_line

RUNTIME: Final = "cuda.bindings.runtime"
UTILS: Final = "cuda.bindings.utils"
INSTALL: Final = "python -m pip install cuda-bindings"

_NO_GPU: Final = 100
"""What the driver answers, as an error code, where all is well but there is no GPU."""

_FAULTS: Final = {
    802: "start the fabric manager: sudo systemctl start nvidia-fabricmanager",
    803: "restart the computer: the driver was updated and the old one is still running",
    804: "this GPU does not run the newer CUDA of this container: update the host's driver, or take another image",
    999: "load the module again: sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm; or restart the computer",
}
"""What to do about errors that the driver starts with."""

_CAPABILITY_MAJOR: Final = 75  # of the driver's CUdevice_attribute
_CAPABILITY_MINOR: Final = 76


@dataclass(frozen=True)
class Gpu:
    """A GPU that the driver shows.

    Attributes:
        name: for example `NVIDIA L4`.
        compute_capability: for example `8.9`; empty if the driver does not tell.
    """

    name: str
    compute_capability: str


def find_gpus() -> tuple[Gpu, ...]:
    """Asks the driver for its GPUs, in the order of their numbers.

    `CUDA_VISIBLE_DEVICES` counts, as it does for every library that draws on them.

    Returns:
        Nothing without a driver or without a GPU.
    """
    try:
        driver = _driver()
        count = ctypes.c_int()
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return ()
        return tuple(_gpu(driver, number) for number in range(count.value))
    except (OSError, AttributeError):
        return ()


def driver_fault() -> str | None:
    """Why a driver that is installed does not start, and what to do; None if it does, or if there is none."""
    text = ctypes.c_char_p()
    try:
        driver = _driver()
        code = driver.cuInit(0)
        if code in (0, _NO_GPU):
            return None
        driver.cuGetErrorString(code, ctypes.byref(text))
    except (OSError, AttributeError):
        return None
    said = (text.value or b"unknown error").decode(errors="replace")
    remedy = _FAULTS.get(code, "see whether nvidia-smi works, and restart the computer")
    return f"the NVIDIA driver does not start: {said} (CUDA error {code}); {remedy}"


def in_container() -> bool:
    """Whether this is a container of Docker or Podman, where a driver comes from outside."""
    return any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))


def driver_version() -> str | None:
    """The driver's version and the newest CUDA that it runs: `580.65 (CUDA 13.0)`; None without a driver."""
    cuda = ctypes.c_int()
    try:
        if _driver().cuDriverGetVersion(ctypes.byref(cuda)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    runs = f"CUDA {cuda.value // 1000}.{cuda.value % 1000 // 10}"
    text = ctypes.create_string_buffer(96)
    try:
        management = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
        if management.nvmlInit_v2() != 0 or management.nvmlSystemGetDriverVersion(text, len(text)) != 0:
            return runs
    except (OSError, AttributeError):
        return runs
    return f"{text.value.decode(errors='replace')} ({runs})"


def _driver() -> ctypes.CDLL:
    if sys.platform == "win32":
        return ctypes.CDLL("nvcuda.dll")
    with contextlib.suppress(OSError):
        return ctypes.CDLL("libcuda.so.1")
    return ctypes.CDLL("/usr/lib/wsl/lib/libcuda.so.1")  # of Windows, often on no library path


def _gpu(driver: ctypes.CDLL, number: int) -> Gpu:
    handle, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    text = ctypes.create_string_buffer(256)
    if driver.cuDeviceGet(ctypes.byref(handle), number) != 0:
        return Gpu(f"GPU {number}", "")
    named = driver.cuDeviceGetName(text, len(text), handle) == 0
    name = text.value.decode(errors="replace") if named else f"GPU {number}"
    for attribute, value in ((_CAPABILITY_MAJOR, major), (_CAPABILITY_MINOR, minor)):
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle) != 0:
            return Gpu(name, "")
    return Gpu(name, f"{major.value}.{minor.value}")


def runtime() -> Any:
    """The module `cuda.bindings.runtime`.

    Raises:
        EngineError: it cannot be imported.
    """
    try:
        return importlib.import_module(RUNTIME)
    except (ImportError, OSError) as error:
        raise EngineError(
            f"cuda-bindings cannot be imported: {first_line(error)}; install it with: {INSTALL}"
        ) from error


def call(function: str, *arguments: Any) -> Any:
    """Calls a function of CUDA's runtime.

    Returns:
        What it returns beside its error code: None, one value, or a tuple of several.

    Raises:
        OutOfGpuMemoryError: there is too little memory on the GPU.
        CudaError: any other error code.
    """
    module = runtime()
    code, *results = getattr(module, function)(*arguments)
    if code != module.cudaError_t.cudaSuccess:
        text = module.cudaGetErrorString(code)[1]
        out_of_memory = code == module.cudaError_t.cudaErrorMemoryAllocation
        if out_of_memory:
            module.cudaGetLastError()  # or the next call of whoever asks would report it again
        kind = OutOfGpuMemoryError if out_of_memory else CudaError
        raise kind(function, code.name, text.decode() if isinstance(text, bytes) else str(text))
    return tuple(results) if len(results) > 1 else next(iter(results), None)


def device_count() -> int:
    """How many GPUs CUDA's runtime can use.

    Raises:
        EngineError: `cuda-bindings` is missing, or the driver is missing or too old for it.
    """
    count: int = call("cudaGetDeviceCount")
    return count


def compute_capability(device: int) -> str:
    """The compute capability of a GPU, by its number: for example `8.9`."""
    attributes = runtime().cudaDeviceAttr
    major = call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMajor, device)
    minor = call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMinor, device)
    return f"{major}.{minor}"


class Stream:
    """A CUDA stream on the current GPU: its work is done in the order of the calls, beside that of other streams.

    Args:
        owner: the stack that frees it when it is closed.
    """

    def __init__(self, owner: contextlib.ExitStack) -> None:
        module = runtime()
        self._stream = call("cudaStreamCreateWithFlags", module.cudaStreamNonBlocking)
        owner.callback(_free, "cudaStreamDestroy", self._stream)
        # A thread that waits for an event so created sleeps; one that waits for a stream would keep a core busy.
        sleeping = module.cudaEventBlockingSync | module.cudaEventDisableTiming
        self._reached = call("cudaEventCreateWithFlags", sleeping)
        owner.callback(_free, "cudaEventDestroy", self._reached)

    def __int__(self) -> int:
        """Its handle, as TensorRT takes it."""
        handle: int = importlib.import_module(UTILS).get_cuda_native_handle(self._stream)
        return handle

    def upload(self, buffer: "Buffer") -> None:
        """Copies a buffer to the GPU; its host side may be written again after `wait`."""
        kind = runtime().cudaMemcpyKind.cudaMemcpyHostToDevice
        call("cudaMemcpyAsync", buffer.device, buffer.host.ctypes.data, buffer.host.nbytes, kind, self._stream)

    def download(self, buffer: "Buffer") -> None:
        """Copies a buffer from the GPU; its host side may be read after `wait`."""
        kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
        call("cudaMemcpyAsync", buffer.host.ctypes.data, buffer.device, buffer.host.nbytes, kind, self._stream)

    def wait(self) -> None:
        """Waits until all work handed to the stream is done.

        Raises:
            CudaError: some of it failed.
        """
        call("cudaEventRecord", self._reached, self._stream)
        call("cudaEventSynchronize", self._reached)

    @contextlib.contextmanager
    def captured(self, owner: contextlib.ExitStack) -> Iterator["Graph"]:
        """Captures the work that is enqueued inside the block, in place of doing it; the graph is ready after it."""
        graph = Graph(self._stream)
        call("cudaStreamBeginCapture", self._stream, runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            yield graph
        except BaseException:
            _free("cudaStreamEndCapture", self._stream)
            raise
        captured = call("cudaStreamEndCapture", self._stream)
        try:
            graph.executable = call("cudaGraphInstantiate", captured, 0)
            owner.callback(_free, "cudaGraphExecDestroy", graph.executable)
        finally:
            _free("cudaGraphDestroy", captured)


class Graph:
    """A CUDA graph: work captured from a stream, launched by one call."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.executable: Any = None

    def launch(self) -> None:
        """Enqueues the graph on its stream."""
        call("cudaGraphLaunch", self.executable, self._stream)


class Buffer:
    """An array in page-locked memory of the host, and memory of the same size on the current GPU.

    Args:
        owner: the stack that frees it when it is closed.
        shape: shape of the array.
        dtype: element type of the array.

    Attributes:
        host: the array, all zeros at first.
        device: its address on the GPU.
    """

    def __init__(self, owner: contextlib.ExitStack, shape: Sequence[int], dtype: str) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = call("cudaHostAlloc", size, runtime().cudaHostAllocDefault)
        owner.callback(_free, "cudaFreeHost", address)
        memory = (ctypes.c_uint8 * size).from_address(int(address))
        self.host: npt.NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(tuple(shape))
        self.host.fill(0)
        self.device: int = allocate(owner, size)


def allocate(owner: contextlib.ExitStack, size: int) -> int:
    """Memory on the current GPU.

    Args:
        owner: the stack that frees it when it is closed.
        size: in bytes.

    Returns:
        Its address.

    Raises:
        OutOfGpuMemoryError: it is not free. On Windows CUDA would take the host's memory then, which is far slower.
    """
    free, _ = call("cudaMemGetInfo")
    if size > free:
        told = f"{size / 1e6:,.0f} MB are wanted, {free / 1e6:,.0f} MB are free"
        raise OutOfGpuMemoryError("cudaMalloc", "cudaErrorMemoryAllocation", told)
    address = call("cudaMalloc", size)
    owner.callback(_free, "cudaFree", address)
    return int(address)


def _free(function: str, handle: Any) -> None:
    """Frees a handle. An error is passed over: it comes from an earlier call, which has raised it."""
    with contextlib.suppress(CudaError):
        call(function, handle)
