"""Turns face photos into artistic portrait drawings: a command line, and the same from Python.

See `apdraw_cli.api` for the names that are exported here. They are imported when they are first used, so that
`apdraw --help` loads nothing heavy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apdraw_cli.api import Artist, Drawing, convert_folder
    from engines.errors import ApdrawError, PhotoError, UnfitError, UsageError

__all__ = [
    "ApdrawError",
    "Artist",
    "Drawing",
    "PhotoError",
    "UnfitError",
    "UsageError",
    "__version__",
    "convert_folder",
]

__version__ = "0.1.0"

_ERRORS = ("ApdrawError", "PhotoError", "UnfitError", "UsageError")


def __getattr__(name: str) -> Any:
    import importlib

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("engines.errors" if name in _ERRORS else "apdraw_cli.api"), name)


def __dir__() -> list[str]:
    return __all__
