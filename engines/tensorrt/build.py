"""Builds a TensorRT engine out of an exported generator, with the sidecar that tells where it can run."""

import contextlib
import dataclasses
import hashlib
import os
import tempfile
import threading
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.atomic_files import write_atomically
from engines.errors import EngineError
from engines.model_info import ModelInfo, read_metadata, sha256
from engines.options import BuildOptions
from engines.portrait import Image
from engines.regular_files import read_regular
from engines.tensorrt import cuda
from engines.tensorrt.compile import STEPS, Plan, ProgressCallback, Settings, compile_graph, inspect
from engines.tensorrt.cuda import Gpu, find_gpus
from engines.tensorrt.library import MODULES, flavor_for, import_library, install_command, is_installed
from engines.tensorrt.sidecar import Sidecar, runtime_cache_path, sidecar_path, this_platform, write_sidecar
from engines.tensorrt.trial import drawn_on_cpu, reference_path, write_reference


def build_engine(
    onnx: Path,
    out: Path,
    options: BuildOptions,
    progress: ProgressCallback | None = None,
    stop: threading.Event | None = None,
) -> Sidecar:
    """Builds an engine and writes it with its sidecar and the drawings that it is tried by.

    A sidecar there before never outlives its engine. Ctrl-C stops the build, and nothing is written.

    Args:
        onnx: an exported generator.
        out: the engine file; replaced where it exists.
        options: what it is built for, and how.
        progress: is told how many steps of how many are done, from other threads too.
        stop: ends the build as Ctrl-C does, once it is set.

    Returns:
        What was written beside the engine.

    Raises:
        ModelFileError: the model is damaged, no portrait generator, or nothing that TensorRT can read.
        EngineError: TensorRT is not installed or cannot build this here, a graph in fp16 has no half layers or its
            engine has none, or a file cannot be written.
        KeyboardInterrupt: it was stopped.
    """
    info = read_metadata(onnx)
    if options.precision not in (None, info.precision):
        raise EngineError(
            f"{onnx} computes in {info.precision}, and so would its engine; make a graph that computes in "
            f"{options.precision} with: apdraw export MODEL.safetensors OUT.onnx --precision {options.precision}"
        )
    if info.precision == "int8":
        raise EngineError(f"{onnx} computes in int8, as CPUs do, which TensorRT cannot read; export one in fp16")
    _check_writable(out)
    gpus = find_gpus()  # before anything of TensorRT is touched: without a GPU it may crash
    number = int(options.device.partition(":")[2])
    gpu = gpus[number] if number < len(gpus) else None
    flavor = _chosen_flavor(options, gpu)
    capabilities = _chosen_capabilities(flavor, options, gpu)
    library = import_library(flavor)
    is_rtx = flavor == "tensorrt-rtx"
    if is_rtx:
        _check_known(capabilities, library)
    settings = Settings(
        options.batch_size,
        capabilities if is_rtx else (),
        options.workspace_mib,
        options.optimization_level,
        _read_timing_cache(flavor, options.timing_cache),
    )
    inspects = gpu is not None and gpu.compute_capability in capabilities
    compiling = _Compiling(library, onnx, settings, number if gpu else 0, inspects)
    plan, counts = compiling.done(progress or (lambda done, total: None), stop)
    if info.precision == "fp16" and counts and not counts.get("HALF"):
        raise EngineError(
            f"TensorRT made an engine without half layers of a graph in fp16, so {out} was not written; "
            f"use --precision fp32, or another version of TensorRT"
        )
    if info.precision == "fp16" and not plan.layers.get("CONVOLUTION HALF"):
        raise EngineError(
            f"{onnx} says that it computes in fp16, and TensorRT finds no convolution in half precision in it; "
            f"export it again with: apdraw export MODEL.safetensors {onnx} --precision fp16"
        )
    sidecar = Sidecar(
        flavor=flavor,
        version=library.__version__,
        compute_capabilities=capabilities,
        platform=this_platform(),
        onnx_sha256=sha256(onnx),
        engine_sha256=hashlib.sha256(plan.content).hexdigest(),
        batch_size=options.batch_size,
        precision=info.precision,
        layers=plan.layers | {f"engine {dtype}": count for dtype, count in counts.items()},
        options=_texts(options),
        model=_model_texts(info),
    )
    _write(out, plan, sidecar, drawn_on_cpu(onnx, info))
    if options.timing_cache is not None and plan.timing_cache is not None:
        write_atomically(options.timing_cache, plan.timing_cache)
    return sidecar


def _check_writable(out: Path) -> None:
    """Fails now rather than after minutes of building."""
    try:
        if out.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise EngineError(f"cannot write {out}: {error.strerror or error}; check its folder") from error


def _chosen_flavor(options: BuildOptions, gpu: Gpu | None) -> str:
    flavor = options.flavor
    if flavor == "auto":
        only_rtx = gpu is None or options.compute_capabilities not in ((), (gpu.compute_capability,))
        flavor = "tensorrt-rtx" if gpu is None or only_rtx else flavor_for(gpu.compute_capability)
    if flavor == "tensorrt" and gpu is None:
        raise EngineError(
            "TensorRT builds for the GPU of the machine that it runs on, and the NVIDIA driver shows none here; build "
            "there, or for GeForce RTX and RTX PRO GPUs with: --flavor tensorrt-rtx --compute-capability 8.9"
        )
    if not is_installed(flavor):
        raise EngineError(f"{MODULES[flavor]} is not installed; install it with: {install_command(flavor)}")
    return flavor


def _chosen_capabilities(flavor: str, options: BuildOptions, gpu: Gpu | None) -> tuple[str, ...]:
    """The compute capabilities to build for, at least one."""
    asked = tuple(dict.fromkeys(options.compute_capabilities))
    here: tuple[str, ...] = (gpu.compute_capability,) if gpu else ()
    if flavor == "tensorrt" and asked not in ((), here):
        raise EngineError(
            f"TensorRT builds for the GPU here alone, of compute capability {', '.join(here)}, not {', '.join(asked)}; "
            f"leave out --compute-capability, or use --flavor tensorrt-rtx"
        )
    if not asked and not here:
        raise EngineError(
            "there is no GPU here to build for; name its kind with: --compute-capability 8.9 "
            "(RTX 30: 8.6, RTX 40: 8.9, RTX 50: 12.0)"
        )
    return asked or here


def _check_known(capabilities: tuple[str, ...], library: Any) -> None:
    known = {f"{name[2:-1]}.{name[-1]}" for name in library.ComputeCapability.__members__ if name.startswith("SM")}
    unknown = [capability for capability in capabilities if capability not in known]
    if unknown:
        listed = ", ".join(sorted(known, key=float))
        raise EngineError(
            f"TensorRT for RTX does not build for compute capability {', '.join(unknown)}, only for {listed}; "
            f"choose some of these, or use --flavor tensorrt"
        )


def _read_timing_cache(flavor: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    if flavor != "tensorrt":
        raise EngineError("TensorRT for RTX measures nothing while it builds: leave out --timing-cache")
    _check_writable(path)
    with contextlib.suppress(FileNotFoundError):
        return read_regular(path)
    return b""


@dataclass(frozen=True)
class _Compiling:
    """A build in a thread of its own: TensorRT's calls last for minutes, in which Ctrl-C would not be heeded.

    Attributes:
        device: the number of the GPU to build on; 0 where there is none.
        inspects: whether the engine can be loaded on that GPU, and so inspected.
    """

    library: Any
    onnx: Path
    settings: Settings
    device: int
    inspects: bool

    def done(self, progress: ProgressCallback, stop: threading.Event | None) -> tuple[Plan, dict[str, int]]:
        """Builds, and returns the engine and the data types in it, as `inspect` counts them."""
        result: Future[tuple[Plan, dict[str, int]] | None] = Future()
        cancelled = threading.Event()

        def work() -> None:
            try:
                result.set_result(self._work(progress, cancelled))
            except BaseException as error:
                result.set_exception(error)

        thread = threading.Thread(target=work, name="build", daemon=True)
        try:
            thread.start()
            while not result.done():
                wait((result,), timeout=0.2)  # on Windows an endless wait would not be interrupted
                if stop is not None and stop.is_set():
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            cancelled.set()
            if thread.ident is not None:  # a thread of TensorRT's that outlived Python would crash the program
                wait((result,))
            raise
        built = result.result()
        if built is None:
            raise KeyboardInterrupt
        progress(STEPS, STEPS)
        return built

    def _work(self, progress: ProgressCallback, cancelled: threading.Event) -> tuple[Plan, dict[str, int]] | None:
        if self.device:
            cuda.call("cudaSetDevice", self.device)  # holds for this thread, in which GPU 0 is current at first
        plan = compile_graph(self.library, self.onnx, self.settings, progress, cancelled)
        if plan is None:
            return None
        return plan, inspect(self.library, plan.content) if self.inspects else {}


def _write(out: Path, plan: Plan, sidecar: Sidecar, drawings: Image) -> None:
    """First the old sidecar goes: an engine without one is refused, one with another's would be too late."""
    try:
        sidecar_path(out).unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(f"cannot replace {sidecar_path(out)}: {error.strerror or error}; check its folder") from error
    write_atomically(out, plan.content)
    write_reference(out, drawings)
    write_sidecar(out, sidecar)


def remove_engine(engine_file: Path) -> None:
    """Removes an engine and what lies beside it, as far as that is possible."""
    for path in (engine_file, sidecar_path(engine_file), reference_path(engine_file), runtime_cache_path(engine_file)):
        with contextlib.suppress(OSError):
            path.unlink()


def _texts(options: BuildOptions) -> dict[str, str]:
    """The options that were given and say how the engine was built; no paths of this machine."""
    told = {
        "workspace_mib": options.workspace_mib,
        "optimization_level": options.optimization_level,
        "timing_cache": None if options.timing_cache is None else os.fspath(options.timing_cache.name),
    }
    return {name: str(value) for name, value in told.items() if value is not None}


def _model_texts(info: ModelInfo) -> dict[str, str]:
    """What a model says about itself, as `engines.model_info.model_info` reads it."""
    values = dataclasses.asdict(info) | {"precisions": " ".join(info.precisions)}
    return {name: str(value) for name, value in values.items() if value is not None}
