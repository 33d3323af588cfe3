"""Runs the small networks that find faces and people with OpenVINO, on one thread of the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.errors import UnfitError
from engines.machine_faults import machine_fault
from engines.openvino_library import open_core, reason_of
from engines.portrait import Image


def read_network(onnx: Path, means: tuple[float, float, float] | None = None) -> Any:
    """An OpenVINO model that takes pixels: uint8 [1, H, W, 3] RGB.

    Args:
        onnx: its file.
        means: means of the channels R, G, B, where the network takes them as B, G, R planes of floats without these
            means; None where it takes pixels as they are.

    Raises:
        Exception: OpenVINO cannot read it; its errors share no base class.
    """
    import openvino as ov
    from openvino.preprocess import ColorFormat, PrePostProcessor

    network = open_core()[0].read_model(onnx)
    if means is None:
        return network
    network.reshape([1, 3, -1, -1])
    wrapped = PrePostProcessor(network)
    photo = wrapped.input()
    photo.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC")).set_color_format(ColorFormat.RGB)
    photo.model().set_layout(ov.Layout("NCHW"))
    steps = photo.preprocess()
    steps.convert_element_type(ov.Type.f32).mean(list(means)).convert_color(ColorFormat.BGR)
    return wrapped.build()


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
        network: what `read_network` returned; stays as it is.
        size: height and width of the photos, if all are such squares; they are then through sooner. None for any.
        single_precision: compute in fp32 always, not in bf16 where the processor computes in it.
    """

    def __init__(self, network: Any, size: int | None = None, *, single_precision: bool = False) -> None:
        core, capabilities = open_core()
        sized = network.clone()
        sized.reshape([1, *((-1, -1) if size is None else (size, size)), 3])
        config = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "bf16" if "BF16" in capabilities and not single_precision else "f32",
        }
        self._request = core.compile_model(sized, "CPU", config).create_infer_request()

    def run(self, photo: Image) -> list[npt.NDArray[np.float32]]:
        """The outputs for one photo (uint8 [H, W, 3] RGB), without the batch dimension, in the network's order."""
        found: Any = self._request.infer([photo[None]], share_inputs=True, share_outputs=False)
        return [np.asarray(found[output][0], np.float32) for output in range(len(found))]
