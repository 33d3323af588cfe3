"""The interfaces of drawing: an `Engine` is an open model that draws, a `Backend` a library that opens engines."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from engines.installed import Part
from engines.portrait import Image, PortraitBatch

if TYPE_CHECKING:
    from engines.model_info import ModelInfo
    from engines.tensorrt.cuda import Gpu

CPU_BATCH_SIZE: Final = 2
"""Portraits in a call on a CPU, unless asked otherwise: it gains little from more, and they cost memory."""

GPU_BATCH_SIZE: Final = 16
"""Portraits in a call on a GPU, unless asked otherwise."""


class Engine(Protocol):
    """Draws aligned portraits with one loaded model.

    `draw` may be called from `concurrency` threads at once; more calls than that only wait.

    Attributes:
        name: name of its backend, one of `engines.registry.ENGINES`.
        device: `cpu`, `cuda:0`, `cuda:0,cuda:1`, ...
        precision: what the generator computes in: `fp32`, `fp16`, `bf16` or `int8`.
        batch_size: how many portraits a call should carry for the best throughput; may become smaller where a
            GPU's memory is short.
        concurrency: how many calls at once keep the device busy.
    """

    name: str
    device: str
    precision: str
    concurrency: int

    @property
    def batch_size(self) -> int:
        """See above."""
        ...

    def draw(self, batch: PortraitBatch) -> Image:
        """Draws a batch.

        Returns:
            uint8 [B, 512, 512], 0 black to 255 white. A drawing does not depend on its batch.

        Raises:
            EngineError: the device failed (out of memory, lost); the message says what to do.
        """
        ...

    def close(self) -> None:
        """Frees the model; the engine draws no more."""
        ...


@dataclass(frozen=True)
class EngineStatus:
    """What a backend can do on this machine.

    Attributes:
        name: name of the backend.
        runs_here: whether it can draw on any device of this machine.
        version: version of its library, None where that is not installed.
        devices: what it can draw on, the fastest first: `cuda:0`, `cpu`, ...
        reason: why it cannot run, or cannot use the GPU that is here; None where nothing is amiss.
        remedy: the command that installs what is missing; None where there is none.
        picked: whether `auto` takes it, with the shipped model.
    """

    name: str
    runs_here: bool
    version: str | None
    devices: tuple[str, ...]
    reason: str | None = None
    remedy: str | None = None
    picked: bool = False


@dataclass(frozen=True)
class EngineRequest:
    """A model to be opened on one device.

    Attributes:
        model: a file of one of the backend's `suffixes`.
        info: what the file says about itself.
        device: `cpu`, `cuda:0`, ...
        gpu: what the driver says of that GPU; None for a CPU.
        precision: `auto`, `fp32`, `fp16`, `bf16` or `int8`.
        batch_size: portraits in a call; None for the engine's default.
        load_module: reads a `.safetensors` file into a torch module, or with `half=True` into one that computes in half
            precision; None where the caller has no torch.
        stop: ends the compilation of an engine once it is set, by KeyboardInterrupt.
    """

    model: Path
    info: "ModelInfo"
    device: str = "cpu"
    gpu: "Gpu | None" = None
    precision: str = "auto"
    batch_size: int | None = None
    load_module: Callable[..., Any] | None = None
    stop: threading.Event | None = None


@dataclass(frozen=True)
class CompiledFiles:
    """Model files that one backend compiled for certain machines, and that no other can draw.

    Attributes:
        suffix: suffix of their names.
        read_info: reads what the model that such a file was compiled from said about itself; raises ModelFileError.
        model_sha256: reads the checksum of that model's file; raises ModelFileError.
        usable_on: tells the GPUs of this machine that such a file can draw on; raises EngineError where there are none.
    """

    suffix: str
    read_info: "Callable[[Path], ModelInfo]"
    model_sha256: Callable[[Path], str]
    usable_on: "Callable[[Path, tuple[Gpu, ...]], str]"


@dataclass(frozen=True)
class Backend:
    """A library that opens engines.

    Attributes:
        name: what users call it.
        suffixes: suffixes of the model files that it draws. A model of another kind needs one of the last of these
            beside it.
        devices: the kinds of device that it draws on: `cuda`, `cpu`.
        precisions: what it computes in, on one of these devices or another.
        status: tells what it can do on this machine, given the GPUs that the driver shows; imports no torch.
        open: opens a model on one device; raises EngineError.
        parts: what it draws with on a GPU, for `apdraw doctor`, given the GPUs that the driver shows.
        int8_by_default: whether a CPU with instructions for int8 draws faster in it than in fp32, so that `auto` does.
        compiled: files that it alone draws; None where there are none.
    """

    name: str
    suffixes: tuple[str, ...]
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    status: "Callable[[tuple[Gpu, ...]], EngineStatus]"
    open: Callable[[EngineRequest], Engine]
    parts: "Callable[[tuple[Gpu, ...]], tuple[Part, ...]]" = lambda gpus: ()
    int8_by_default: bool = False
    compiled: CompiledFiles | None = None
