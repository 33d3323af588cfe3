"""Turns face photos into artistic portrait drawings: a command line, and the same from Python.

See `apdraw_cli.api` for the names that are exported here. They are imported when they are first used, so that
`apdraw --help` loads nothing heavy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apdraw_cli.api import Artist, Drawing, Photo, convert_folder
    from apdraw_cli.conversion.outcome import ConvertResult, Failure, Outcome
    from apdraw_cli.faces.detect import Face
    from apdraw_cli.faces.doubts import PhotoWarning
    from engines.errors import ApdrawError, PhotoError, UnfitError, UsageError

__all__ = [
    "ApdrawError",
    "Artist",
    "ConvertResult",
    "Drawing",
    "Face",
    "Failure",
    "Outcome",
    "Photo",
    "PhotoError",
    "PhotoWarning",
    "UnfitError",
    "UsageError",
    "__version__",
    "convert_folder",
]

__version__ = "0.1.0"

_MODULES = {
    "apdraw_cli.api": ("Artist", "Drawing", "Photo", "convert_folder"),
    "apdraw_cli.conversion.outcome": ("ConvertResult", "Failure", "Outcome"),
    "apdraw_cli.faces.detect": ("Face",),
    "apdraw_cli.faces.doubts": ("PhotoWarning",),
    "engines.errors": ("ApdrawError", "PhotoError", "UnfitError", "UsageError"),
}


def __getattr__(name: str) -> Any:
    import importlib

    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
