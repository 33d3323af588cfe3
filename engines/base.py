"""What every engine is: something that turns a batch of aligned portraits into drawings."""

from dataclasses import dataclass
from typing import Final, Protocol

from engines.portrait import Image, PortraitBatch

CPU_BATCH_SIZE: Final = 2
"""Portraits in a call on a CPU, unless asked otherwise: it gains little from more, and they cost memory."""

GPU_BATCH_SIZE: Final = 16
"""Portraits in a call on a GPU, unless asked otherwise."""


def one_line(error: BaseException) -> str:
    """The first line of a library's error message, to be quoted in one of ours."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@dataclass(frozen=True)
class EngineStatus:
    """What an engine can do on this machine.

    Attributes:
        name: as in `Engine`.
        runs_here: whether it can draw on any device of this machine.
        version: of its library, None where that is not installed.
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


class Engine(Protocol):
    """Draws aligned portraits with one loaded model.

    `draw` may be called from `concurrency` threads at once; more calls than that only wait.

    Attributes:
        name: `openvino`, `onnxruntime`, `torch` or `tensorrt`.
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
