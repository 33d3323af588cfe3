"""Tries a built engine: it must draw two portraits as the model that it was built from is drawn on the CPU."""

import dataclasses
from pathlib import Path
from typing import Final

import numpy as np

from engines.base import Engine, EngineRequest
from engines.errors import EngineError
from engines.model_info import ModelInfo
from engines.synthetic import synthetic_portraits
from engines.tensorrt.sidecar import read_sidecar, write_sidecar

MEAN_DIFFERENCE: Final = 0.5
"""How many grey levels a portrait's drawing may be off on average."""

CROSSING: Final = 1e-3
"""The share of a drawing's pixels that may have changed between dark (up to 127) and light."""

_NOTE: Final = "trial"


class WrongEngineError(EngineError):
    """An engine draws something else than the model that it was built from."""


def try_once(engine: Engine, engine_file: Path, onnx: Path, info: ModelInfo) -> None:
    """Compares an engine with OpenVINO on the CPU, unless its sidecar tells that this was done; notes the result there.

    Args:
        engine: the open engine.
        engine_file: its file.
        onnx: the model that it was built from.
        info: what that says about itself.

    Raises:
        WrongEngineError: its drawings are others than the model's.
    """
    sidecar = read_sidecar(engine_file)
    if _NOTE in sidecar.options:
        return
    from engines.openvino_engine import OpenVinoEngine

    portraits = synthetic_portraits(2)
    reference = OpenVinoEngine(EngineRequest(onnx, info, precision="fp32"))
    try:
        wanted = reference.draw(portraits).astype(np.int16)
    finally:
        reference.close()
    found = engine.draw(portraits).astype(np.int16)
    mean = float(np.abs(found - wanted).mean(axis=(1, 2)).max())
    crossing = float(((found <= 127) != (wanted <= 127)).mean(axis=(1, 2)).max())
    told = f"{mean:.3f} grey levels off on average, {crossing:.2%} of pixels changed between dark and light"
    if mean > MEAN_DIFFERENCE or crossing > CROSSING:
        raise WrongEngineError(
            f"the engine built of {onnx} draws wrong ({told}), so it was thrown away; see: apdraw doctor"
        )
    noted = {**sidecar.options, _NOTE: f"on {engine.device}: {told}"}
    write_sidecar(engine_file, dataclasses.replace(sidecar, options=noted))
