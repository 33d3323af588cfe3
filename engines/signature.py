"""The signature of the exported graph that every engine runs: names, types and shapes of its inputs and its output."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engines.errors import EngineError, ModelFileError
from engines.portrait import SIZE, Image, PortraitBatch


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: the tensor's name.
        dtype: NumPy's name of its element type.
        shape: its sizes, None where any size will do.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {describe(self.dtype, self.shape)}"


INPUTS: Final = (
    Port("photo", "uint8", (None, SIZE, SIZE, 3)),
    Port("landmarks", "float32", (None, 5, 2)),
    Port("mask", "uint8", (None, SIZE, SIZE)),
)
"""Photo in RGB; landmarks as pixels (x, y); mask with 255 on the person. The free size is the batch."""

OUTPUT: Final = Port("drawing", "uint8", (None, SIZE, SIZE))
"""Grey levels, 0 black to 255 white."""


def describe(dtype: object, shape: Sequence[int | None]) -> str:
    """Writes a tensor's type and shape the way the messages do: `uint8 [B, 512, 512]`."""
    return f"{dtype} [{', '.join('B' if size is None else str(size) for size in shape)}]"


def check_signature(model: Path, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Checks that a loaded graph is a portrait generator.

    Raises:
        ModelFileError: an input or output is missing, has another type or shape, or is not known here.
    """
    for kind, found, wanted in (("input", inputs, INPUTS), ("output", outputs, (OUTPUT,))):
        if {*found} != {*wanted}:
            raise ModelFileError(
                f"{model} is not a portrait generator: its {kind}s are {_listed(found)}, "
                f"not {_listed(wanted)}; export it again with: apdraw export MODEL OUT.onnx"
            )


def _listed(ports: Sequence[Port]) -> str:
    return "; ".join(str(port) for port in ports) or "none"


def check_batch(batch: PortraitBatch) -> dict[str, npt.NDArray[Any]]:
    """Checks a batch before a library sees it.

    Returns:
        The arrays under the names of the graph's inputs, C-contiguous.

    Raises:
        EngineError: an array has the wrong type or shape, the batch is empty or a landmark is not finite.
    """
    arrays = batch.inputs()
    for port in INPUTS:
        array = arrays[port.name]
        expected = (len(batch), *port.shape[1:])
        if array.dtype != port.dtype or array.shape != expected:
            raise EngineError(
                f"cannot draw a batch whose {port.name} is {describe(array.dtype, array.shape)}: "
                f"it must be {describe(port.dtype, port.shape)}, with one B for all three"
            )
    if len(batch) == 0:
        raise EngineError("cannot draw an empty batch: pass at least one portrait")
    if not np.isfinite(batch.landmarks).all():
        raise EngineError("cannot draw a batch with a landmark that is not a finite number")
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def check_drawing(model: Path, drawing: Image, count: int) -> Image:
    """Checks what came out of a generator whose signature could not be read beforehand.

    Returns:
        The drawing itself, uint8 [count, 512, 512].

    Raises:
        ModelFileError: the drawing has another type or shape.
    """
    expected = (count, *OUTPUT.shape[1:])
    if drawing.dtype != OUTPUT.dtype or drawing.shape != expected:
        raise ModelFileError(
            f"{model} is not a portrait generator: it drew {describe(drawing.dtype, drawing.shape)}, "
            f"not {describe(OUTPUT.dtype, expected)}"
        )
    return drawing
