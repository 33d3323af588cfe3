"""CUDA's runtime in host memory, for tests without a GPU: as lazy and as strict as a real one may be.

Copies and kernels are done only when somebody waits for them, so that a wait that is missing shows as wrong data.
Memory is never clean: what is new or freed holds garbage. Whatever a real GPU would leave undefined is a `Fault`:
memory used after it was freed, copies beyond its end, two streams on the same memory, the wrong GPU.
"""

# ruff: noqa: N802, N803, N816  the names are CUDA's

import ctypes
import enum
import functools
import importlib.machinery
import inspect
import itertools
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engines.tensorrt import cuda
from engines.tensorrt.cuda import RUNTIME, UTILS, Gpu

GARBAGE_NEW, GARBAGE_FREED = 0xCD, 0xDD


class Fault(BaseException):
    """Undefined behaviour; no code under test can take it for an error of its own."""


cudaError_t = enum.IntEnum(
    "cudaError_t",
    {
        "cudaSuccess": 0,
        "cudaErrorInvalidValue": 1,
        "cudaErrorMemoryAllocation": 2,
        "cudaErrorInsufficientDriver": 35,
        "cudaErrorInvalidDevice": 101,
        "cudaErrorIllegalState": 401,
        "cudaErrorIllegalAddress": 700,
        "cudaErrorStreamCaptureUnsupported": 900,
        "cudaErrorStreamCaptureInvalidated": 901,
        "cudaErrorStreamCaptureWrongThread": 908,
    },
)
cudaMemcpyKind = enum.IntEnum("cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2})
cudaDeviceAttr = enum.IntEnum(
    "cudaDeviceAttr", {"cudaDevAttrComputeCapabilityMajor": 75, "cudaDevAttrComputeCapabilityMinor": 76}
)
cudaStreamCaptureMode = enum.IntEnum("cudaStreamCaptureMode", {"cudaStreamCaptureModeThreadLocal": 1})

CONSTANTS = {
    "cudaStreamNonBlocking": 1,
    "cudaEventBlockingSync": 1,
    "cudaEventDisableTiming": 2,
    "cudaHostAllocDefault": 0,
}

NOT_WHILE_CAPTURING = ("cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost", "cudaEventSynchronize")
"""What waits for the GPU, or may: a thread that captures must not call it, or its capture is lost."""

STICKY = cudaError_t.cudaErrorIllegalAddress
"""An error after which CUDA answers everything with it: all that the process had on the GPU is lost."""

ENUMS = (cudaError_t, cudaMemcpyKind, cudaDeviceAttr, cudaStreamCaptureMode)


def install(monkeypatch, cuda: "FakeCuda") -> None:
    """Makes it what a program finds when it imports CUDA."""
    monkeypatch.setitem(sys.modules, RUNTIME, cuda.module())
    monkeypatch.setitem(sys.modules, UTILS, cuda.utils())


class FakeDriver:
    """NVIDIA's driver, as `ctypes` loads it.

    Args:
        gpus: that it shows.
        fault: the error code that it starts with; 0 for none.
        path: where its library is found.
    """

    def __init__(self, gpus: tuple[Gpu, ...], fault: int = 0, path: str = "libcuda.so.1") -> None:
        self.gpus, self.fault, self.path = gpus, fault, path

    def install(self, monkeypatch: Any) -> None:
        def load(path: str) -> "FakeDriver":
            if path != self.path:
                raise OSError(f"{path}: cannot open shared object file")
            return self

        names = {name: value for name, value in vars(ctypes).items() if name[0] != "_"}
        monkeypatch.setattr(cuda, "ctypes", types.SimpleNamespace(**{**names, "CDLL": load}))

    def cuInit(self, flags):
        return self.fault

    def cuGetErrorString(self, code, text):
        text._obj.value = {802: b"system not yet initialized"}[code]
        return 0

    def cuDeviceGetCount(self, count):
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, handle, number):
        handle._obj.value = number
        return 0

    def cuDeviceGetName(self, text, length, handle):
        text.value = self.gpus[handle.value].name.encode()[: length - 1]
        return 0

    def cuDeviceGetAttribute(self, value, attribute, handle):
        value._obj.value = int(self.gpus[handle.value].compute_capability.split(".")[attribute - 75])
        return 0


class Memory:
    """A piece of memory; `device` is None for the host's."""

    def __init__(self, address: int, content: np.ndarray, device: int | None) -> None:
        self.address, self.content, self.device, self.freed = address, content, device, False
        content.fill(GARBAGE_NEW)

    def free(self) -> None:
        if self.freed:
            raise Fault("memory freed twice")
        self.freed = True
        self.content.fill(GARBAGE_FREED)

    def part(self, address: int, size: int) -> np.ndarray:
        start = address - self.address
        if self.freed:
            raise Fault("memory used after it was freed")
        if start < 0 or start + size > len(self.content):
            raise Fault(f"{size} bytes at {start} of memory of {len(self.content)}")
        return self.content[start : start + size]


@dataclass
class Work:
    """A copy or a kernel, and the things that nobody else may touch until it is done."""

    do: Callable[[], None]
    uses: tuple[Any, ...]


class Handle:
    """A stream, event or graph: opaque, but for its number."""

    numbers = itertools.count(0x5000)

    def __init__(self) -> None:
        self.number = next(self.numbers)
        self.destroyed = False


class Stream(Handle):
    def __init__(self, device: int) -> None:
        super().__init__()
        self.device = device
        self.work: list[Work] = []
        self.done = 0
        self.captured: list[Work] | None = None
        self.capturing_thread = 0
        self.invalid = False

    @property
    def pending(self) -> list[Work]:
        return self.work[self.done :]

    def run(self, end: int) -> None:
        while self.done < end:
            self.work[self.done].do()
            self.done += 1


class Event(Handle):
    stream: Stream | None = None
    position = 0


class Graph(Handle):
    def __init__(self, work: list[Work]) -> None:
        super().__init__()
        self.work = work


@dataclass
class FakeCuda:
    """A machine with GPUs.

    Attributes:
        capabilities: of its GPUs.
        room: bytes of memory of each GPU.
        spills: whether more than that is given, from the host's memory, as on Windows.
        fail: error codes by function, for its next call and all after it.
        calls: names of the functions called so far.
        lost: whether a sticky error has happened.
    """

    capabilities: list[str] = field(default_factory=lambda: ["8.9"])
    room: int = 1 << 30
    spills: bool = False
    fail: dict[str, cudaError_t] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    lost: bool = False

    def __post_init__(self) -> None:
        self.memory: list[Memory] = []
        self.handles: dict[int, Handle] = {}
        self._thread = threading.local()
        self._lock = threading.RLock()
        self._next = 0x7F00_0000_0000

    def module(self) -> types.ModuleType:
        """What is to be found as `cuda.bindings.runtime`."""
        module = types.ModuleType(RUNTIME)
        module.__spec__ = importlib.machinery.ModuleSpec(RUNTIME, None)
        for name, function in self.functions().items():
            setattr(module, name, self._guarded(name, function))
        for kind in ENUMS:
            setattr(module, kind.__name__, kind)
        for name, value in CONSTANTS.items():
            setattr(module, name, value)
        return module

    def utils(self) -> types.ModuleType:
        """What is to be found as `cuda.bindings.utils`."""
        module = types.ModuleType(UTILS)
        module.get_cuda_native_handle = lambda obj: obj.number
        return module

    def functions(self) -> dict[str, Callable[..., tuple[Any, ...]]]:
        return {name: function for name, function in inspect.getmembers(self, inspect.ismethod) if name[:4] == "cuda"}

    def _guarded(self, name: str, function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        @functools.wraps(function)
        def guarded(*arguments: Any) -> tuple[Any, ...]:
            with self._lock:
                self.calls.append(name)
                code = self._refusal(name)
                if code is not None:
                    return (code, None) if name.startswith("cudaGet") else (code,)
                return function(*arguments)

        return guarded

    def _refusal(self, name: str) -> cudaError_t | None:
        """The error that a call is answered with, whatever it asks for."""
        if name in ("cudaGetErrorString", "cudaGetLastError"):
            return None
        self.lost = self.lost or self.fail.get(name) is STICKY
        if self.lost:
            return STICKY
        if name in self.fail:
            return self.fail[name]
        mine = [one for one in self.handles.values() if isinstance(one, Stream) and self._captures_here(one)]
        if mine and name in NOT_WHILE_CAPTURING:
            for stream in mine:
                stream.invalid = True
            return cudaError_t.cudaErrorStreamCaptureUnsupported
        return None

    def _captures_here(self, stream: Stream) -> bool:
        return stream.captured is not None and stream.capturing_thread == threading.get_ident()

    @property
    def current(self) -> int:
        return getattr(self._thread, "device", 0)

    @property
    def in_use(self) -> int:
        """Bytes allocated on the current GPU."""
        return sum(len(one.content) for one in self.memory if one.device == self.current and not one.freed)

    def leaked(self) -> list[Any]:
        """What was never given back."""
        return [one for one in self.memory if not one.freed] + [
            handle for handle in self.handles.values() if not handle.destroyed
        ]

    def find(self, address: int, size: int, device: int | None) -> Memory:
        """The memory at an address, which must be live, large enough and where it is said to be."""
        for one in self.memory:
            if one.device == device and one.address <= address < one.address + len(one.content):
                one.part(address, size)
                return one
        raise Fault(f"no memory at {address:#x} of {'the host' if device is None else f'GPU {device}'}")

    def hand_over(self, stream: Stream, work: Work) -> None:
        """Puts work behind what the stream has, or into the graph that is being captured from it."""
        if stream.device != self.current:
            raise Fault(f"work for GPU {stream.device} while GPU {self.current} is current")
        with self._lock:
            if stream.captured is not None:
                stream.captured.append(work)
                return
            self._check_race(stream, work)
            stream.work.append(work)

    def _check_race(self, stream: Stream, work: Work) -> None:
        for other in self.handles.values():
            if isinstance(other, Stream) and other is not stream:
                for pending in other.pending:
                    if any(a is b for a in pending.uses for b in work.uses):
                        raise Fault("two streams work on the same thing at once")

    def handle(self, number: Any, kind: type) -> Any:
        found = self.handles.get(number.number if isinstance(number, Handle) else number)
        if not isinstance(found, kind) or found.destroyed:
            raise Fault(f"no {kind.__name__} {number}")
        return found

    def _add(self, handle: Handle) -> tuple[Any, ...]:
        self.handles[handle.number] = handle
        return cudaError_t.cudaSuccess, handle

    def _destroy(self, number: Any, kind: type) -> tuple[Any, ...]:
        self.handle(number, kind).destroyed = True
        return (cudaError_t.cudaSuccess,)

    def _free(self, address: int, on_gpu: bool) -> tuple[Any, ...]:
        for one in self.memory:
            if one.address == address and (one.device is not None) == on_gpu and not one.freed:
                for stream in self.handles.values():
                    if isinstance(stream, Stream) and any(one is used for work in stream.pending for used in work.uses):
                        raise Fault("memory freed that work still needs")
                one.free()
                return (cudaError_t.cudaSuccess,)
        raise Fault(f"no memory to free at {address:#x}")

    def cudaGetDeviceCount(self):
        return cudaError_t.cudaSuccess, len(self.capabilities)

    def cudaSetDevice(self, device):
        if device >= len(self.capabilities):
            return (cudaError_t.cudaErrorInvalidDevice,)
        self._thread.device = device
        return (cudaError_t.cudaSuccess,)

    def cudaDeviceGetAttribute(self, attr, device):
        part = {75: 0, 76: 1}[int(attr)]
        return cudaError_t.cudaSuccess, int(self.capabilities[device].split(".")[part])

    def cudaMalloc(self, size):
        if self.in_use + size > self.room and self.spills:
            raise Fault("memory of the host in place of the GPU's, ten times as slow")
        if self.in_use + size > self.room:
            return cudaError_t.cudaErrorMemoryAllocation, None
        address, self._next = self._next, self._next + (size + 511) // 256 * 256
        self.memory.append(Memory(address, np.empty(size, np.uint8), self.current))
        return cudaError_t.cudaSuccess, address

    def cudaMemGetInfo(self):
        return cudaError_t.cudaSuccess, self.room - self.in_use, self.room

    def cudaFree(self, devPtr):
        return self._free(devPtr, on_gpu=True)

    def cudaHostAlloc(self, size, flags):
        content = np.empty(size, np.uint8)
        self.memory.append(Memory(content.ctypes.data, content, None))
        return cudaError_t.cudaSuccess, content.ctypes.data

    def cudaFreeHost(self, ptr):
        return self._free(ptr, on_gpu=False)

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        stream = self.handle(stream, Stream)
        to_gpu = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
        source = self.find(src, count, None if to_gpu else stream.device)
        target = self.find(dst, count, stream.device if to_gpu else None)

        def copy() -> None:
            target.part(dst, count)[:] = source.part(src, count)

        self.hand_over(stream, Work(copy, (source, target)))
        return (cudaError_t.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags):
        if flags != CONSTANTS["cudaStreamNonBlocking"]:
            raise Fault("a stream that waits for the default stream")
        return self._add(Stream(self.current))

    def cudaStreamDestroy(self, stream):
        return self._destroy(stream, Stream)

    def cudaEventCreateWithFlags(self, flags):
        return self._add(Event())

    def cudaEventRecord(self, event, stream):
        event = self.handle(event, Event)
        event.stream = self.handle(stream, Stream)
        event.position = len(event.stream.work)
        return (cudaError_t.cudaSuccess,)

    def cudaEventSynchronize(self, event):
        event = self.handle(event, Event)
        if event.stream is not None:
            event.stream.run(event.position)
        return (cudaError_t.cudaSuccess,)

    def cudaEventDestroy(self, event):
        return self._destroy(event, Event)

    def cudaStreamBeginCapture(self, stream, mode):
        stream = self.handle(stream, Stream)
        if stream.captured is not None:
            return (cudaError_t.cudaErrorIllegalState,)
        stream.captured, stream.capturing_thread, stream.invalid = [], threading.get_ident(), False
        return (cudaError_t.cudaSuccess,)

    def cudaStreamEndCapture(self, stream):
        stream = self.handle(stream, Stream)
        if stream.captured is None:
            return cudaError_t.cudaErrorInvalidValue, None
        if not self._captures_here(stream):
            return cudaError_t.cudaErrorStreamCaptureWrongThread, None
        work, stream.captured = stream.captured, None
        if stream.invalid:
            return cudaError_t.cudaErrorStreamCaptureInvalidated, None
        return self._add(Graph(work))

    def cudaGraphInstantiate(self, graph, flags):
        return self._add(Graph(self.handle(graph, Graph).work))

    def cudaGraphLaunch(self, graphExec, stream):
        for work in self.handle(graphExec, Graph).work:
            self.hand_over(self.handle(stream, Stream), work)
        return (cudaError_t.cudaSuccess,)

    def cudaGraphExecDestroy(self, graphExec):
        return self._destroy(graphExec, Graph)

    def cudaGraphDestroy(self, graph):
        return self._destroy(graph, Graph)

    def cudaGetErrorString(self, error):
        return cudaError_t.cudaSuccess, f"text of {error.name}".encode()

    def cudaGetLastError(self):
        return (cudaError_t.cudaSuccess,)
