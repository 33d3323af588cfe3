"""Runs the small networks that find faces and people with OpenVINO, on one thread of the CPU."""

import weakref
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.errors import UnfitError
from engines.machine_faults import machine_fault
from engines.openvino_library import open_core, reason_of
from engines.portrait import Image


class ReadNetwork:
    """A network as OpenVINO read it, and what it compiled of it that nobody uses any more.

    Args:
        model: the OpenVINO model; stays as it is.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.unused: defaultdict[tuple[int | None, bool], list[Any]] = defaultdict(list)


def read_network(onnx: Path, means: tuple[float, float, float] | None = None) -> ReadNetwork:
    """A network that takes pixels: uint8 [1, H, W, 3] RGB. A file that stays the same is read once in a process.

    Args:
        onnx: its file.
        means: means of the channels R, G, B, where the network takes them as B, G, R planes of floats without these
            means; None where it takes pixels as they are.

    Raises:
        Exception: OpenVINO cannot read it; its errors share no base class.
    """
    told = onnx.stat()
    return _read(onnx, (told.st_mtime_ns, told.st_size), means)


@lru_cache(maxsize=4)
def _read(onnx: Path, changed: tuple[int, int], means: tuple[float, float, float] | None) -> ReadNetwork:
    import openvino as ov
    from openvino.preprocess import ColorFormat, PrePostProcessor

    del changed
    model = open_core()[0].read_model(onnx)
    if means is None:
        return ReadNetwork(model)
    model.reshape([1, 3, -1, -1])
    wrapped = PrePostProcessor(model)
    photo = wrapped.input()
    photo.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC")).set_color_format(ColorFormat.RGB)
    photo.model().set_layout(ov.Layout("NCHW"))
    steps = photo.preprocess()
    steps.convert_element_type(ov.Type.f32).mean(list(means)).convert_color(ColorFormat.BGR)
    return ReadNetwork(wrapped.build())


def why_not_opened(name: str, weights: Path, error: Exception) -> UnfitError:
    """What is told of a network that OpenVINO did not open.

    Args:
        name: name of the network.
        weights: its file.
        error: what OpenVINO raised.
    """
    fault = machine_fault(error)
    if fault is not None:
        return UnfitError(f"the {name} cannot be opened: {fault}")
    return UnfitError(f"the {name}'s weights {weights} cannot be read ({reason_of(error)}); install apdraw again")


class Network:
    """A network compiled by OpenVINO for one thread.

    Args:
        network: what `read_network` returned.
        size: height and width of the photos, if all are such squares; they are then through sooner. None for any.
        single_precision: compute in fp32 always, not in bf16 where the processor computes in it.
    """

    def __init__(self, network: ReadNetwork, size: int | None = None, *, single_precision: bool = False) -> None:
        unused = network.unused[size, single_precision]
        try:
            self._request = unused.pop()
        except IndexError:
            self._request = _compiled(network.model, size, single_precision)
        weakref.finalize(self, unused.append, self._request).atexit = False

    def run(self, photo: Image) -> list[npt.NDArray[np.float32]]:
        """The outputs for one photo (uint8 [H, W, 3] RGB), without the batch dimension, in the network's order."""
        found: Any = self._request.infer([photo[None]], share_inputs=True, share_outputs=False)
        return [np.asarray(found[output][0], np.float32) for output in range(len(found))]


def _compiled(model: Any, size: int | None, single_precision: bool) -> Any:
    """A request of a model that is compiled for it alone: requests of one would wait for each other."""
    core, capabilities = open_core()
    sized = model.clone()
    sized.reshape([1, *((-1, -1) if size is None else (size, size)), 3])
    config = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "bf16" if "BF16" in capabilities and not single_precision else "f32",
    }
    return core.compile_model(sized, "CPU", config).create_infer_request()
