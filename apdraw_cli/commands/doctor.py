"""`apdraw doctor`: tries what is installed, draws a sample, and tells what to do about the rest."""

import importlib.util
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apdraw_cli import __version__
from apdraw_cli.commands.trials import drawing_fault, import_faults
from engines import installed
from engines.errors import ExitCode
from engines.installed import Part

if TYPE_CHECKING:
    from engines.base import EngineStatus
    from engines.tensorrt.cuda import Gpu

PARTS: Final = (
    ("openvino", "openvino", "runs the face detector", "openvino", True),
    ("cv2", "opencv-python-headless", "aligns faces", "opencv-python-headless", True),
    ("PIL", "pillow", "reads and writes pictures", "pillow", True),
    ("simplejpeg", "simplejpeg", "reads JPEG photos", "simplejpeg", True),
    ("cloudpickle", "cloudpickle", "starts workers", "cloudpickle", True),
    ("joblib", "joblib", "counts processors", "joblib", True),
    ("pillow_heif", "pillow-heif", "reads HEIC photos", "pillow-heif", False),
    ("uvicorn", "uvicorn", "draws over HTTP, in apdraw serve", "uvicorn starlette python-multipart", False),
    ("torch", "torch", "imports and exports models", "torch safetensors", False),
    ("onnxscript", "onnxscript", "exports models", "onnx onnxscript", False),
)
"""Import name, distribution, purpose, what pip installs it with, and whether `convert` needs it."""


MENDED: Final = {
    "cv2": "python -m pip uninstall --yes opencv-python opencv-contrib-python opencv-python-headless && "
    "python -m pip install opencv-python-headless",
}
"""How a package is mended that installing it again may not mend: of OpenCV's builds the last one installed is used."""

ENOUGH_SHARED_MEMORY: Final = 256_000_000
"""Bytes that two reading processes of training take at common batch sizes."""

REINSTALL: Final = "python -m pip install --force-reinstall --no-deps .   in the folder of apdraw's source"

DRIVERS: Final = "https://www.nvidia.com/drivers"


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        version: version of this program.
        python: its version.
        system: operating system and processor.
        engines: what can draw.
        gpu: the driver, the GPUs, and the libraries that draw on them.
        parts: what else is installed or could be, the shipped weights first.
        folders: where drawings and engines are to be written.
        sample: how the photo that comes with the program was drawn; None if that was not tried.
        model: the model asked about; None if none was.
        picked: the engine that `auto` takes, and on what; None if there is none.
        advice: what to do next.
        trouble: why `apdraw convert` cannot draw here; None if it can.
    """

    version: str
    python: str
    system: str
    engines: tuple[Part, ...]
    gpu: tuple[Part, ...]
    parts: tuple[Part, ...]
    folders: tuple[Part, ...]
    sample: Part | None
    model: Part | None
    picked: str | None
    advice: tuple[str, ...]
    trouble: str | None

    @property
    def exit_code(self) -> ExitCode:
        """Of the command: 3 if `apdraw convert` cannot draw here."""
        return ExitCode.DONE if self.trouble is None else ExitCode.UNFIT


def doctor(
    model: Path | None = None,
    output: Path | None = None,
    tell: Callable[[str, tuple[Part, ...] | None], None] = lambda section, rows: None,
) -> Diagnosis:
    """Tries this machine: imports what is installed, and draws a photo that comes with the program. Changes nothing.

    Args:
        model: a model to be looked at too; of a `.engine` file, whether it fits this machine.
        output: where drawings are to go; the current folder if not given.
        tell: is told of each section twice, as it takes seconds: when it begins, with None, and then its rows.
    """
    from engines.select import survey
    from engines.tensorrt.cuda import find_gpus
    from engines.tensorrt.engine_cache import cache_folder

    def found(section: str, rows: Callable[[], tuple[Part, ...]]) -> tuple[Part, ...]:
        tell(section, None)
        told = rows()
        tell(section, told)
        return told

    tell("Engines", None)
    gpus = find_gpus()
    statuses = survey()
    engines = tuple(replace(_engine(status), optional=not gpus and not status.picked) for status in statuses)
    tell("Engines", engines)
    gpu = found("GPU", lambda: _gpu_rows(gpus))
    parts = found("Parts", lambda: (_shipped_model(bool(gpus)), *_face_networks(), *_parts()))
    drawings = _folder("output", output or Path.cwd(), "drawings", "choose another --output")
    kept = _folder("cache", cache_folder(), "engines built on first use", "set APDRAW_CACHE to another folder")
    kept = replace(kept, optional=not gpus)
    folders = found("Folders", lambda: (drawings, kept, *_shared_memory()))
    asked = None if model is None else found("Model", lambda: (_model(model, gpus),))[0]
    picked = next((status for status in statuses if status.picked), None)
    weights, packages = parts[: -len(PARTS)], parts[-len(PARTS) :]
    trouble = _trouble(picked, (*weights, drawings, *((asked,) if asked else ())), packages)
    sample = None
    if trouble is None and picked is not None:
        tell("Trial", None)
        sample, trouble = _drawn_sample(picked, model)
        tell("Trial", (sample,))
    return Diagnosis(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        engines=engines,
        gpu=gpu,
        parts=parts,
        folders=folders,
        sample=sample,
        model=asked,
        picked=None if picked is None else f"{picked.name} on {picked.devices[0]}",
        advice=_advice(picked, statuses, bool(gpus)),
        trouble=trouble,
    )


def _trouble(picked: "EngineStatus | None", needed: tuple[Part, ...], parts: tuple[Part, ...]) -> str | None:
    missing = [row.name for row, part in zip(parts, PARTS, strict=True) if part[4] and row.remedy is not None]
    lost = [row for row in needed if row.remedy is not None]
    if lost:
        return lost[0].state
    if missing:
        return f"{', '.join(missing)} must be installed, in versions that run here, first"
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


def _engine(status: "EngineStatus") -> Part:
    state = f"draws on {', '.join(status.devices)}" if status.runs_here else "cannot draw here"
    state += " (auto takes it)" if status.picked else ""
    state += f"; {status.reason}" if status.reason else ""
    return Part(status.name, status.version, state, status.remedy)


def _gpu_rows(gpus: "tuple[Gpu, ...]") -> tuple[Part, ...]:
    from engines.registry import backends
    from engines.tensorrt import cuda

    driver = cuda.driver_version()
    fault = cuda.driver_fault()
    if fault is not None:
        state = fault
    elif driver is None and cuda.in_container():
        state = "none was found; this is a container: start it with --gpus all, on a machine with an NVIDIA driver"
    elif driver is None:
        return (Part("NVIDIA GPU", None, f"none: nothing to do (if there is one, install its driver: {DRIVERS})"),)
    else:
        state = f"shows {len(gpus)} GPU{'s' * (len(gpus) != 1)}"
    rows = [Part("NVIDIA driver", driver, state)]
    if not gpus and driver is None and fault is None:
        return tuple(rows)
    for number, gpu in enumerate(gpus):
        kind = gpu.compute_capability or "unknown"
        rows.append(Part(f"cuda:{number}", None, f"{gpu.name}, compute capability {kind}"))
    for backend in backends():
        rows += backend.parts(gpus)
    return tuple(rows)


def _model(path: Path, gpus: "tuple[Gpu, ...]") -> Part:
    """Whether a model can be used here, from what its file or its sidecar tells."""
    from engines.errors import EngineError
    from engines.select import compiled_files, read_model

    try:
        info = read_model(path)
        told = f"{info.name or 'a generator'}, {info.precision}"
        compiled = compiled_files(path)
        fits = f"fits {compiled.usable_on(path, gpus)}" if compiled else "any engine for its kind of file takes it"
    except EngineError as error:
        reason, _, remedy = str(error).partition("; rebuild with: ")
        return Part(path.name, None, reason, remedy or "name another --model")
    return Part(path.name, info.version or None, f"{told}: {fits}")


def _shipped_model(has_gpu: bool) -> Part:
    from engines.errors import EngineError
    from engines.model_info import read_metadata
    from engines.select import TWINS, fast_on_cpu, shipped_model

    try:
        info = read_metadata(shipped_model())
        precision = fast_on_cpu(info)
        if precision == "int8":
            read_metadata(shipped_model().with_suffix(TWINS[precision]))
    except EngineError as error:
        return Part("generator", None, str(error), REINSTALL)
    about = f"draws: {info.name}, {info.licence}".rstrip(", ")
    half = shipped_model().with_suffix(TWINS["fp16"]).is_file()
    on_gpu = f", on a GPU in {'fp16' if half else 'fp32'}" if has_gpu else ""
    return Part("generator", info.version or None, f"{about}; on this CPU in {precision}{on_gpu}")


def _face_networks() -> tuple[Part, ...]:
    from engines.shipped import shipped_detector, shipped_mesh, shipped_segmenter

    networks = (
        ("face detector", shipped_detector(), "finds faces"),
        ("segmenter", shipped_segmenter(), "tells the person from the background"),
        ("face mesh", shipped_mesh(), "tells faces that are upright from all else"),
    )
    return tuple(
        Part(name, None, purpose) if weights.is_file() else Part(name, None, f"there is no {weights}", REINSTALL)
        for name, weights, purpose in networks
    )


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _parts() -> tuple[Part, ...]:
    faults = import_faults([part[0] for part in PARTS if _is_installed(part[0])])
    return tuple(_part(*part, faults.get(part[0])) for part in PARTS)


def _part(module: str, distribution: str, purpose: str, requirement: str, needed: bool, fault: str | None) -> Part:
    use = purpose if needed else f"optional: {purpose}"
    if not _is_installed(module):
        return Part(distribution, None, f"not installed; {use}", f"python -m pip install {requirement}", not needed)
    version = installed.version_of(distribution) or "installed"  # by another distribution of the same module
    if fault is not None:
        again = MENDED.get(module, f"python -m pip install --force-reinstall {requirement}")
        return Part(distribution, version, f"cannot be imported: {fault}; {use}", again, not needed)
    return Part(distribution, version, use, optional=not needed)


def _drawn_sample(picked: "EngineStatus", model: Path | None) -> tuple[Part, str | None]:
    """How the photo that comes with the program was drawn, and what keeps all photos from being drawn."""
    on_gpu = picked.name == "tensorrt"  # which would first build an engine, for minutes
    arguments = ["--device", "cpu"] if on_gpu and model is None else []
    arguments += ["--model", str(model)] if model else []
    fault = drawing_fault(arguments)
    if fault is not None:
        return Part("sample", None, f"could not be drawn: {fault}"), fault
    where = "the CPU; the first photos try the GPU" if arguments[:1] == ["--device"] else picked.devices[0]
    return Part("sample", None, f"drawn on {where}"), None


def _shared_memory() -> tuple[Part, ...]:
    """Whether training can read with processes of its own, if it is not so; nothing else needs it."""
    from train.shared_memory import shared_memory_fault

    fault = shared_memory_fault(ENOUGH_SHARED_MEMORY)
    if fault is None:
        return ()
    told = f"{fault}; apdraw train may then read without processes of its own"
    return (Part("shared memory", None, told, "start the container with --shm-size 1g", optional=True),)


def _folder(name: str, folder: Path, purpose: str, remedy: str) -> Part:
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
        return Part(name, None, f"{purpose} cannot be written to {folder}: {reason}", remedy)
    return Part(name, None, f"{purpose} can be written to {folder}; {free:.1f} GB free")
