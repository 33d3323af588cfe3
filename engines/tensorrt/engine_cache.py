"""A folder of engine files that were built on first use; a key names all that an engine depends on."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import platformdirs

from engines.base import GPU_BATCH_SIZE
from engines.errors import EngineError, ModelFileError, UnfitError
from engines.model_info import ModelInfo, sha256
from engines.options import BuildOptions
from engines.tensorrt import build, cuda
from engines.tensorrt.library import flavor_for, import_library
from engines.tensorrt.sidecar import SUFFIX, check_fits, read_sidecar, this_platform

DURATIONS: Final = {"tensorrt": "several minutes", "tensorrt-rtx": "up to a minute"}
"""How long a build is expected to take, by flavor."""


ABANDONED_SECONDS: Final = 24 * 60 * 60
"""After so long the folder of a build is taken to be that of a killed one."""


def cache_folder() -> Path:
    """Where engines are kept: `$APDRAW_CACHE`, else `apdraw` in the user's folder for caches."""
    named = os.environ.get("APDRAW_CACHE")
    if named:
        return Path(named).expanduser() / "engines"
    return platformdirs.user_cache_path("apdraw", appauthor=False) / "engines"


def engine_file_for(
    onnx: Path, info: ModelInfo, device: str, gpu: cuda.Gpu, batch_size: int | None, stop: threading.Event | None = None
) -> Path:
    """The engine of a model for a GPU: the one in the cache, else one built now, which is announced.

    Two processes that build the same engine at once do not disturb each other: the first to finish wins.

    Args:
        onnx: the model.
        info: what it says about itself.
        device: `cuda:0`, ...
        gpu: what the driver tells of it.
        batch_size: portraits in a call; None for the default.
        stop: ends a build once it is set.

    Returns:
        The `.engine` file, its sidecar beside it.

    Raises:
        EngineError: TensorRT is not installed, or the engine cannot be built or kept.
        KeyboardInterrupt: the build was stopped.
    """
    cuda.device_count()  # where this fails TensorRT may crash
    capability = cuda.compute_capability(int(device.partition(":")[2]))
    flavor = flavor_for(capability)
    library = import_library(flavor)
    size = batch_size or GPU_BATCH_SIZE
    parts = {
        "onnx": sha256(onnx),
        "precision": info.precision,
        "flavor": flavor,
        "version": library.__version__,
        "platform": this_platform(),
        "compute_capability": capability,
        "gpu": gpu.name,
        "batch_size": size,
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    entry = cache_folder() / key
    engine = entry / f"{onnx.stem}.engine"
    try:
        if entry.exists():
            with contextlib.suppress(UnfitError):
                check_fits(
                    read_sidecar(engine),
                    engine,
                    flavor=flavor,
                    version=library.__version__,
                    platform=this_platform(),
                    compute_capability=capability,
                )
                return engine
            shutil.rmtree(entry, ignore_errors=True)
        entry.parent.mkdir(parents=True, exist_ok=True)
        # For this user's eyes and hands alone: it is code that is run without asking.
        with tempfile.TemporaryDirectory(prefix=".", dir=entry.parent, ignore_cleanup_errors=True) as folder:
            _announce(onnx, info, device, gpu, flavor, entry.parent)
            _build(onnx, Path(folder) / "built" / engine.name, BuildOptions(flavor, size, device=device), stop)
            try:
                (Path(folder) / "built").rename(entry)
            except OSError:
                if not engine.exists():  # or else another process was faster
                    raise
        _sweep(entry.parent, flavor, library.__version__)
    except OSError as error:
        raise EngineError(
            f"cannot keep engines in {entry.parent}: {error.strerror or error}; name another folder in APDRAW_CACHE"
        ) from error
    return engine


def discard(engine: Path) -> None:
    """Removes an engine from the cache."""
    shutil.rmtree(engine.parent, ignore_errors=True)


def _sweep(folder: Path, flavor: str, version: str) -> None:
    """Removes engines that other versions of this flavor have built, and what builds that were killed left behind."""
    for entry in folder.iterdir():
        with contextlib.suppress(OSError, UnfitError):
            if entry.name.startswith("."):
                outdated = time.time() - entry.stat().st_mtime > ABANDONED_SECONDS
            else:
                sidecars = [read_sidecar(engine) for engine in entry.glob(f"*{SUFFIX}")]
                outdated = any(each.flavor == flavor and each.version != version for each in sidecars)
            if outdated:
                shutil.rmtree(entry, ignore_errors=True)


def _announce(onnx: Path, info: ModelInfo, device: str, gpu: cuda.Gpu, flavor: str, folder: Path) -> None:
    half = (
        ""
        if info.precision == "fp16"
        else f"; one in half precision needs: apdraw export MODEL.safetensors {onnx.stem}.fp16.onnx --precision fp16"
    )
    logging.getLogger(f"apdraw.{__name__}").warning(
        "building an engine of %s in %s for %s (%s) with %s, once: it takes %s and is kept in %s%s",
        *(onnx.name, info.precision, device, gpu.name, flavor, DURATIONS[flavor], folder, half),
    )


def _build(onnx: Path, engine: Path, options: BuildOptions, stop: threading.Event | None) -> None:
    engine.parent.mkdir(mode=0o700)
    try:
        build.build_engine(onnx, engine, options, stop=stop)
    except ModelFileError as error:  # other engines may well draw what TensorRT cannot build
        raise EngineError(str(error)) from error
