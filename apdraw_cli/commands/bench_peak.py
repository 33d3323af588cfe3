"""What a CPU can compute at most, and what a generator asks of it; both by way of OpenVINO."""

import math
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from engines.cpu import has_int8
from engines.errors import EngineError
from engines.openvino_library import open_core

SIZE: Final = 2048
"""Rows and columns of the matrices whose product is timed."""


class MatrixProduct:
    """A product of two matrices in one precision, to be timed again and again.

    Args:
        precision: `fp32`, `bf16`, or `int8`: one matrix of 256 levels, as values that go into a convolution are, one of
            255, as weights are.

    Raises:
        EngineError: this CPU does not compute in it.
    """

    def __init__(self, precision: str) -> None:
        import openvino as ov
        from openvino import opset13 as ops

        core, capabilities = open_core()
        if precision.upper() not in capabilities or (precision == "int8" and not has_int8()):
            raise EngineError(f"this CPU does not compute in {precision}")
        shape = ov.Shape([SIZE, SIZE])
        left = ops.parameter(shape, ov.Type.f32)
        right = ops.constant(np.random.default_rng(0).random((SIZE, SIZE), np.float32))
        one, other = left, right
        if precision == "int8":
            least, middle, most = (ops.constant(np.float32(value)) for value in (-1, 0, 1))
            one = ops.fake_quantize(left, middle, most, middle, most, 256)
            other = ops.fake_quantize(right, least, most, least, most, 255)
        total = ops.reduce_mean(ops.matmul(one, other, False, False), ops.constant(np.array([0, 1])))
        hints = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
        self._request = core.compile_model(ov.Model([total], [left]), "CPU", hints).create_infer_request()
        self._left = np.random.default_rng(1).random((SIZE, SIZE), np.float32)
        self.gflops()  # the first product makes the kernel

    def gflops(self) -> float:
        """GFLOP a second of one product on all cores; a multiplication and an addition are two."""
        start = time.perf_counter()
        self._request.infer([self._left], share_inputs=True)
        return 2 * SIZE**3 / (time.perf_counter() - start) / 1e9


def gflop_per_portrait(model: Path) -> float:
    """GFLOP of the convolutions and products in drawing one portrait.

    Args:
        model: a generator's `.onnx` file.

    Raises:
        EngineError: it cannot be read.
    """
    import openvino as ov

    try:
        graph = ov.Core().read_model(model)
        graph.reshape({port: ov.PartialShape([1, *list(port.partial_shape)[1:]]) for port in graph.inputs})
    except RuntimeError as error:
        raise EngineError(f"openvino cannot read {model}; is the file whole?") from error
    return sum(map(_flop, graph.get_ops())) / 1e9


def _flop(operation: Any) -> float:
    kind = operation.get_type_name()
    if kind not in ("Convolution", "ConvolutionBackpropData", "MatMul"):
        return 0.0
    first, second = (list(port.get_shape()) for port in operation.inputs()[:2])
    result = list(operation.output(0).get_shape())
    if kind == "Convolution":
        products = math.prod(result) * math.prod(second[1:])
    elif kind == "ConvolutionBackpropData":
        products = math.prod(first) * math.prod(second[1:])
    else:
        products = math.prod(result) * first[-2 if operation.get_attributes()["transpose_a"] else -1]
    return float(2 * products)
