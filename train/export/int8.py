"""INT8: a generator's convolutions in whole numbers of 8 bits, calibrated on portraits, and proven to draw the same.

What goes into a convolution is rounded to 256 levels between the least and the most that it was on the calibration
portraits; its weights are rounded to 255 levels, each channel by itself. Norms and all else stay in float32.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engines.errors import DatasetError, ModelError
from engines.offline import import_onnxruntime
from engines.portrait import Image, Portrait, PortraitBatch
from train.data.pairs import PortraitPairs
from train.evaluation.metrics import BINARY_THRESHOLD

LARGEST_SHARE: Final = 0.01
"""Of a drawing's pixels may turn from black to white or back."""

CALIBRATION_PORTRAITS: Final = 64
TRIAL_PORTRAITS: Final = 16

_QUANTIZED: Final = ["Conv", "ConvTranspose"]


@dataclass(frozen=True)
class Quantized:
    """A generator's graph in INT8.

    Attributes:
        model: an `onnx.ModelProto`, with QuantizeLinear and DequantizeLinear around its convolutions.
        changed: the share of pixels that turned from black to white or back, in the trial's worst drawing.
        mean: grey levels by which the pixels differ, on average over the trial.
    """

    model: Any
    changed: float
    mean: float


def calibration_portraits(folder: Path) -> tuple[PortraitPairs, PortraitPairs]:
    """A data set's portraits of the split `train`, and of `val`; where there are none, the former again.

    Raises:
        DatasetError: the data set cannot be used.
    """
    learnt = PortraitPairs(folder, "train")
    try:
        return learnt, PortraitPairs(folder, "val")
    except DatasetError:
        return learnt, learnt


def quantized(model: Any, learnt: PortraitPairs, others: PortraitPairs) -> Quantized:
    """Puts a graph's convolutions into INT8.

    Args:
        model: an `onnx.ModelProto` that computes in float32.
        learnt: portraits that ranges are measured on.
        others: portraits that are drawn in both precisions, to be compared.

    Raises:
        ModelError: a drawing would change more than `LARGEST_SHARE`.
        DatasetError: a portrait cannot be read.
    """
    result = in_int8(model, _some(learnt, CALIBRATION_PORTRAITS))
    changed, mean = _compared(model, result, _some(others, TRIAL_PORTRAITS))
    if changed > LARGEST_SHARE:
        raise ModelError(
            f"in int8 up to {changed:.1%} of a drawing would turn from black to white or back, and {LARGEST_SHARE:.0%} "
            f"is the limit; use --precision fp32"
        )
    return Quantized(result, changed, mean)


def in_int8(model: Any, portraits: Iterable[Portrait]) -> Any:
    """Puts a graph's convolutions into INT8, whatever becomes of its drawings.

    Args:
        model: an `onnx.ModelProto` that computes in float32.
        portraits: portraits on which ranges are measured.

    Returns:
        Another `onnx.ModelProto`.
    """
    import onnx

    import_onnxruntime()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix="apdraw-int8-") as scratch, _quiet():
        plain, rounded = Path(scratch) / "plain.onnx", Path(scratch) / "rounded.onnx"
        onnx.save(model, plain)
        quantize_static(
            plain,
            rounded,
            _Reader(iter(portraits)),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=_QUANTIZED,
            # What comes out of them goes into norms, which want it whole.
            extra_options={"QuantizeBias": False, "OpTypesToExcludeOutputQuantization": _QUANTIZED},
        )
        return onnx.load(rounded)


class _Reader:
    """Hands one portrait after the other to the calibration."""

    def __init__(self, portraits: Iterator[Portrait]) -> None:
        self._portraits = portraits

    def get_next(self) -> dict[str, Any] | None:
        """The next one's arrays under the names of the graph's inputs, None behind the last."""
        portrait = next(self._portraits, None)
        return None if portrait is None else PortraitBatch.of([portrait]).inputs()


def _some(pairs: PortraitPairs, count: int) -> Iterator[Portrait]:
    """Up to so many portraits, from all over a data set."""
    for index in np.unique(np.linspace(0, len(pairs) - 1, count).astype(int)):
        yield pairs[int(index)].portrait()


def _compared(plain: Any, rounded: Any, portraits: Iterator[Portrait]) -> tuple[float, float]:
    """How far drawings differ: the largest share of pixels that changed sides, and the mean in grey levels."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        for model in (plain, rounded)
    ]
    shares, means = [], []
    for portrait in portraits:
        inputs = PortraitBatch.of([portrait]).inputs()
        wanted, found = (_draw(session, inputs) for session in sessions)
        shares.append(float(np.mean((wanted <= BINARY_THRESHOLD) != (found <= BINARY_THRESHOLD))))
        means.append(float(np.abs(found.astype(np.int16) - wanted).mean()))
    return max(shares), float(np.mean(means))


def _draw(session: Any, inputs: dict[str, Any]) -> Image:
    return np.asarray(session.run(["drawing"], inputs)[0], np.uint8)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the quantizer's advice, which it gives to the root logger, off the terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)
