"""`apdraw build-engine`: a model becomes a TensorRT engine for one or more kinds of GPU."""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from apdraw_cli.commands.export import export
from apdraw_cli.commands.options import ExportOptions
from engines.base import EngineRequest
from engines.errors import EngineError, UsageError
from engines.model_info import read_metadata
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.options import BuildOptions
from engines.portrait import PortraitBatch
from engines.tensorrt.build import build_engine, remove_engine
from engines.tensorrt.cuda import find_gpus
from engines.tensorrt.sidecar import Sidecar, sidecar_path
from engines.tensorrt.trial import WrongEngineError, try_engine
from engines.twin_file import whole_file

CALLS: Final = 50
"""Calls of an engine that its latency is measured by."""


@dataclass(frozen=True)
class Latency:
    """How long calls with one batch size took, copies included.

    Attributes:
        batch_size: portraits in a call.
        p50: milliseconds that half of the calls stayed under.
        p90: milliseconds that 90 % stayed under.
        p99: milliseconds that 99 % stayed under.
    """

    batch_size: int
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Trial:
    """How an engine draws on the GPU here.

    Attributes:
        device: the GPU.
        largest_difference: largest difference of a pixel from ONNX Runtime's on the CPU, in grey levels.
        mean_difference: mean difference of all pixels, in grey levels.
        latencies: latencies of one portrait, and of the largest batch.
    """

    device: str
    largest_difference: int
    mean_difference: float
    latencies: tuple[Latency, ...]


@dataclass(frozen=True)
class BuildResult:
    """What was built.

    Attributes:
        engine: the file written.
        size: size of that file in bytes.
        seconds: that the build took.
        sidecar_file: the file beside it.
        sidecar: what that tells.
        trial: how it draws here; None where no GPU that it is built for is here.
        not_tried: why it was not tried; None where it was.
    """

    engine: Path
    size: int
    seconds: float
    sidecar_file: Path
    sidecar: Sidecar
    trial: Trial | None
    not_tried: str | None


def build(
    model: Path,
    engine: Path,
    options: BuildOptions,
    progress: Callable[[int, int], None] | None = None,
) -> BuildResult:
    """Builds an engine, and tries it where a GPU is that it was built for.

    Args:
        model: an `.onnx` file, or a `.safetensors` file that is exported on the way.
        engine: the `.engine` file to write; replaced where it exists.
        options: how. The precision is that of the graph: left out, what an `.onnx` file holds, and fp16 of a
            `.safetensors` file.
        progress: is told how many steps of how many are done.

    Raises:
        UsageError: `model` or `engine` is of another kind.
        UnfitError: a package is missing, the model cannot be built, or its engine does not draw.
    """
    kind = model.suffix.lower()
    if kind not in (".onnx", ".safetensors"):
        raise UsageError(f"cannot build an engine of {model}: a model is an .onnx or a .safetensors file")
    if engine.suffix.lower() != ".engine":
        raise UsageError(f"cannot build {engine}: its name must end in .engine")
    with tempfile.TemporaryDirectory() as folder:
        onnx = model
        if kind == ".safetensors":
            onnx = Path(folder) / f"{model.stem}.onnx"
            export(model, onnx, ExportOptions(precision="fp32" if options.precision == "fp32" else "fp16"))
        else:
            read_metadata(model)  # tells best what is wrong with it
            onnx = whole_file(model, Path(folder))
        start = time.monotonic()
        sidecar = build_engine(onnx, engine, options, progress)
        seconds = time.monotonic() - start
        not_tried = _obstacle(sidecar, options.device)
        trial = None if not_tried else _trial(onnx, engine, options.device)
    return BuildResult(engine, engine.stat().st_size, seconds, sidecar_path(engine), sidecar, trial, not_tried)


def _obstacle(sidecar: Sidecar, device: str) -> str | None:
    """Why an engine cannot be tried here; None if it can."""
    gpus, number = find_gpus(), int(device.partition(":")[2])
    if number >= len(gpus):
        return "there is no GPU here"
    here = gpus[number].compute_capability
    return None if here in sidecar.compute_capabilities else f"the GPU here is of compute capability {here}"


def _trial(onnx: Path, engine: Path, device: str) -> Trial:
    """Draws with an engine and with ONNX Runtime, and measures the engine's latency."""
    from engines.tensorrt.engine import TensorRTEngine
    from train.samples import sample_portraits

    portraits = sample_portraits()
    reference = OnnxRuntimeEngine(EngineRequest(onnx, read_metadata(onnx)))
    tried = TensorRTEngine(engine, device=device)
    try:
        try_engine(tried, engine)
        differences = np.abs(tried.draw(portraits).astype(np.int16) - reference.draw(portraits))
        sizes = sorted({1, tried.batch_size})
        latencies = tuple(_latency(tried.draw, _repeated(portraits, size)) for size in sizes)
    except WrongEngineError as error:
        remove_engine(engine)
        why = str(error).partition("; rebuild with: ")[0]
        raise EngineError(f"{why}, so it was removed; try another version of TensorRT") from error
    finally:
        tried.close()
        reference.close()
    return Trial(device, int(differences.max()), float(differences.mean()), latencies)


def _latency(draw: Callable[[PortraitBatch], object], batch: PortraitBatch) -> Latency:
    draw(batch)  # the first call makes ready what later ones use
    milliseconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        draw(batch)
        milliseconds.append(1000 * (time.perf_counter() - start))
    p50, p90, p99 = np.percentile(milliseconds, (50, 90, 99))
    return Latency(len(batch), float(p50), float(p90), float(p99))


def _repeated(portraits: PortraitBatch, count: int) -> PortraitBatch:
    indices = np.arange(count) % len(portraits)
    return dataclasses.replace(portraits, **{name: array[indices] for name, array in portraits.inputs().items()})
