"""Tries an engine: it must draw two made-up portraits as its model is drawn on the CPU.

How that draws them is kept beside the engine from when it is built, since the model may not be there where it is used.
"""

import contextlib
import dataclasses
import io
import logging
import zipfile
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.atomic_files import write_atomically
from engines.base import Engine, EngineRequest
from engines.errors import EngineError, FileWriteError
from engines.model_info import ModelInfo
from engines.portrait import Image
from engines.regular_files import read_regular
from engines.synthetic import synthetic_portraits
from engines.tensorrt.sidecar import read_sidecar, rebuild_command, write_sidecar

MEAN_DIFFERENCE: Final = 0.5
"""How many grey levels a portrait's drawing may be off on average."""

CROSSING: Final = 1e-3
"""The share of a drawing's pixels that may have changed between dark (up to 127) and light."""

PORTRAITS: Final = 2

_NOTE: Final = "trial"


class WrongEngineError(EngineError):
    """An engine draws something else than the model that it was built from."""


def reference_path(engine_file: Path) -> Path:
    """Where the drawings that an engine is compared with are: `OUT.engine.npz` beside `OUT.engine`."""
    return engine_file.with_name(f"{engine_file.name}.npz")


def drawn_on_cpu(onnx: Path, info: ModelInfo) -> Image:
    """How OpenVINO draws the portraits of the trial, in float32: uint8 [2, 512, 512].

    Raises:
        EngineError: it cannot draw this model.
    """
    from engines.openvino_engine import OpenVinoEngine

    engine = OpenVinoEngine(EngineRequest(onnx, info, precision="fp32"))
    try:
        return engine.draw(synthetic_portraits(PORTRAITS))
    finally:
        engine.close()


def write_reference(engine_file: Path, drawings: Image) -> None:
    """Writes the drawings that an engine is to be compared with.

    Raises:
        FileWriteError: the file cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, drawings=drawings)
    write_atomically(reference_path(engine_file), content.getvalue())


def try_engine(engine: Engine, engine_file: Path) -> None:
    """Compares what an engine draws with what is kept beside it, and notes the result in its sidecar.

    It takes a batch, so it is done whenever an engine is opened: what was right may not be with another driver or GPU.
    An engine without such drawings beside it is used untried, with a warning.

    Args:
        engine: the open engine.
        engine_file: its file.

    Raises:
        WrongEngineError: its drawings are others than the model's.
    """
    wanted = _reference(engine_file)
    if wanted is None:
        return
    found = engine.draw(synthetic_portraits(PORTRAITS)).astype(np.int16)
    mean = float(np.abs(found - wanted).mean(axis=(1, 2)).max())
    crossing = float(((found <= 127) != (wanted <= 127)).mean(axis=(1, 2)).max())
    told = f"{mean:.3f} grey levels off on average, {crossing:.2%} of pixels changed between dark and light"
    if mean > MEAN_DIFFERENCE or crossing > CROSSING:
        raise WrongEngineError(f"{engine_file} draws wrong ({told}); rebuild with: {rebuild_command(engine_file)}")
    sidecar = read_sidecar(engine_file)
    note = f"on {engine.device}: {told}"
    if sidecar.options.get(_NOTE) == note:
        return
    with contextlib.suppress(FileWriteError):  # it may lie where only others write
        write_sidecar(engine_file, dataclasses.replace(sidecar, options={**sidecar.options, _NOTE: note}))


def _reference(engine_file: Path) -> npt.NDArray[np.int16] | None:
    path = reference_path(engine_file)
    try:
        with np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as kept:
            drawings: Image = kept["drawings"]
        return drawings.astype(np.int16).reshape(PORTRAITS, *drawings.shape[1:])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        why = "there is none" if isinstance(error, FileNotFoundError) else "it is damaged"
        logging.getLogger(f"apdraw.{__name__}").warning(
            "%s draws untried: %s should lie beside it, and %s", engine_file, path.name, why
        )
        return None
