"""The kernels of a TensorRT engine, and how long they must take on a GPU at least; needs TensorRT for RTX, but no GPU.

    python -m benchmarks.kernels MODEL.onnx ... [--batch-size 16] [--compute-capability 8.9]

TensorRT for RTX tells at the end of a build, in its most detailed log, which kernels the engine is made of, with the
shapes and types of what they read and write. From these follow the bytes that go through the GPU's memory and the sums
that convolutions take. A kernel takes as long as the slower of the two, and a pause before the next (a roofline).
"""

import argparse
import math
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

from engines.tensorrt.compile import Settings, compile_graph
from engines.tensorrt.library import import_library, log_of
from engines.twin_file import whole_file

CONVOLUTIONS: Final = ("correlation", "deconv", "runtime_fusion")
"""The kinds of kernel that may be convolutions; the last is one with what stands around it."""

GAP_SECONDS: Final = 2.5e-6
"""Between two kernels of a stream."""

REACHED: Final = 0.45
"""The share of a card's peak that convolutions of few channels reach."""

CACHE_SPEEDUP: Final = 2.0
"""How much faster than memory the second-level cache is, for what fits into half of it."""

_BYTES: Final = {"Float": 4, "Half": 2, "BFloat16": 2, "Int8": 1, "UInt8": 1, "Bool": 1, "Int32": 4, "Int64": 8}

_TENSOR: Final = re.compile(r"Dimensions: \[([-\d,]*)\].*?Datatype: (\w+)")


@dataclass(frozen=True)
class Card:
    """What a GPU does in a second, as measured by others on real work rather than as advertised.

    Attributes:
        bandwidth: bytes from and to its memory.
        half: operations of Tensor Cores on float16.
        single: operations on float32, without Tensor Cores.
        cache: bytes of its second-level cache.
    """

    bandwidth: float
    half: float
    single: float
    cache: float


CARDS: Final = {
    "H100 SXM": Card(3.0e12, 700e12, 55e12, 50e6),
    "L4": Card(0.26e12, 60e12, 18e12, 48e6),
    "RTX 4090": Card(0.90e12, 150e12, 65e12, 72e6),
    "RTX 3060": Card(0.32e12, 45e12, 10e12, 3e6),
}


@dataclass(frozen=True)
class Tensor:
    """What a kernel reads or writes: its sizes, -1 where the batch's is, and the name of its type."""

    shape: tuple[int, ...]
    dtype: str

    def values(self, batch_size: int) -> int:
        """How many values it has."""
        return math.prod(batch_size if size < 0 else size for size in self.shape)

    def bytes(self, batch_size: int) -> int:
        """How many bytes it has."""
        return self.values(batch_size) * _BYTES.get(self.dtype, 4)


@dataclass(frozen=True)
class Kernel:
    """A kernel of an engine.

    Attributes:
        name: that TensorRT gave it.
        kind: its LayerType: `correlation`, `deconv`, `kgen`, ...
        inputs: of it.
        weights: constants that it reads.
        outputs: of it.
    """

    name: str
    kind: str
    inputs: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def filters(self) -> Tensor | None:
        """The weights of the convolution that it is; None if it is none."""
        if self.kind not in CONVOLUTIONS:
            return None
        return next((each for each in self.weights if len(each.shape) == 4 and each.shape[2] > 1), None)

    @property
    def is_half(self) -> bool:
        """Whether it is a convolution whose products are of float16."""
        return self.filters is not None and self.filters.dtype == "Half"

    def traffic(self, batch_size: int) -> int:
        """Bytes of activations that it reads and writes."""
        return sum(tensor.bytes(batch_size) for tensor in (*self.inputs, *self.outputs))

    def operations(self, batch_size: int) -> float:
        """Products and sums of a convolution; 0 for another kernel."""
        if self.filters is None:
            return 0.0
        # Each pixel of the coarser picture meets every weight once.
        places = (self.inputs if self.kind == "deconv" else self.outputs)[0].shape[2:]
        return 2.0 * batch_size * math.prod(places) * math.prod(self.filters.shape)

    def seconds(self, card: Card, batch_size: int) -> float:
        """How long it takes a card at least."""
        moved = self.traffic(batch_size) + sum(tensor.bytes(batch_size) for tensor in self.weights)
        bandwidth = card.bandwidth * (CACHE_SPEEDUP if moved < 0.6 * card.cache else 1.0)
        peak = card.half if self.is_half else card.single
        return max(moved / bandwidth, self.operations(batch_size) / (peak * REACHED)) + GAP_SECONDS


def kernels_of(onnx: Path, batch_size: int, compute_capability: str) -> tuple[Kernel, ...]:
    """Builds an engine and reads its kernels out of the log.

    Raises:
        EngineError: TensorRT for RTX is missing, or cannot build it.
    """
    library = import_library("tensorrt-rtx")
    log = log_of(library)
    told = type(log).log
    lines: list[str] = []

    def listen(self: Any, severity: Any, msg: str) -> None:
        if severity == library.ILogger.Severity.VERBOSE and "LayerType: " in msg:
            lines.extend(msg.splitlines())
        told(self, severity, msg)

    settings = Settings(batch_size, (compute_capability,))
    with tempfile.TemporaryDirectory(prefix="apdraw-kernels-") as scratch, mock.patch.object(type(log), "log", listen):
        graph = whole_file(onnx, Path(scratch))
        compile_graph(library, graph, settings, lambda done, total: None, threading.Event())
    return tuple(_kernels(lines))


def _kernels(lines: list[str]) -> Iterator[Kernel]:
    for line in lines:
        found = re.match(
            r"Name: (.+?), LayerType: (\w+), Inputs: \[(.*)\], Constants: \[(.*)\], Outputs: \[(.*)\], ", line
        )
        if found and found[2] != "shape_call":
            yield Kernel(found[1], found[2], *map(_tensors, found.groups()[2:]))


def _tensors(text: str) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(tuple(int(size) for size in shape.split(",") if size), dtype) for shape, dtype in _TENSOR.findall(text)
    )


def portraits_per_second(kernels: tuple[Kernel, ...], card: Card, batch_size: int) -> float:
    """The most that a card draws."""
    return batch_size / sum(kernel.seconds(card, batch_size) for kernel in kernels)


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels")
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--compute-capability", default="8.9")
    given = parser.parse_args()
    size = given.batch_size
    tell(f"| engine, batches of {size} | kernels | half convolutions | MB a portrait | {' | '.join(CARDS)} |")
    tell("|---" * (4 + len(CARDS)) + "|")
    for model in given.models:
        kernels = kernels_of(model, size, given.compute_capability)
        moved = sum(kernel.traffic(size) for kernel in kernels) / size / 1e6
        convolutions = Counter(kernel.is_half for kernel in kernels if kernel.filters)
        speeds = [f"{portraits_per_second(kernels, card, size):,.0f} /s" for card in CARDS.values()]
        half = f"{convolutions[True]} of {convolutions.total()}"
        tell(f"| {model.name} | {len(kernels)} | {half} | {moved:.0f} | {' | '.join(speeds)} |")


def tell(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
